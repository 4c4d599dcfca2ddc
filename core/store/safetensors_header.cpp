#include "core/store/safetensors_header.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <tuple>
#include <unordered_set>

#include "core/base/error.h"

namespace growmerge {
namespace {

using Json = nlohmann::json;

// The format's own limit: a length beyond it is that of another kind of file.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
// So that elements times their size, and sums of such, stay far from overflowing 64 bits.
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 56;

[[noreturn]] void bad_header(const std::string& what) {
  fail(ErrorCode::kCorrupt, "header: ", what);
}

/// Parses JSON and refuses a name that stands twice in one object (the parser alone would keep the
/// last one).
Json parse_strict(const char* begin, const char* end) {
  std::vector<std::unordered_set<std::string>> names;
  const auto callback = [&names](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    // A header's own nesting is three deep; what goes on much further need not be read to its end.
    if (depth > 8) {
      bad_header("JSON is nested deeper than the format allows");
    }
    if (event == Event::object_start) {
      names.emplace_back();
    } else if (event == Event::object_end) {
      names.pop_back();
    } else if (event == Event::key) {
      const std::string name = parsed.get<std::string>();
      if (!names.back().insert(name).second) {
        bad_header("name '" + name + "' stands twice");
      }
    }
    return true;
  };
  try {
    return Json::parse(begin, end, callback);
  } catch (const Json::exception& e) {
    bad_header(std::string("not valid JSON: ") + e.what());
  }
}

std::vector<std::uint64_t> whole_numbers(const Json& list, const std::string& what) {
  if (!list.is_array()) {
    bad_header(what + " is no list");
  }
  std::vector<std::uint64_t> out;
  for (const Json& item : list) {
    // Neither 1.0 nor -1 nor 1e3: other readers take none of them.
    if (!item.is_number_unsigned()) {
      bad_header(what + " holds " + item.dump(-1, ' ', false, Json::error_handler_t::replace) +
                 ", expected whole numbers >= 0");
    }
    out.push_back(item.get<std::uint64_t>());
  }
  return out;
}

/// Checks one entry on its own; offsets come out relative to the data section.
TensorInfo parse_entry(const std::string& name, const Json& entry) {
  const std::string who = "tensor '" + name + "': ";
  if (!entry.is_object()) {
    bad_header(who + "its entry is no object");
  }
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!entry.contains(key)) {
      bad_header(who + "key '" + key + "' is missing");
    }
  }
  for (const auto& [key, value] : entry.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      bad_header(who + "unknown key '" + key + "'");
    }
  }
  if (!entry["dtype"].is_string()) {
    bad_header(who + "dtype is no string");
  }
  TensorInfo info;
  info.name = name;
  info.dtype = with_context("header: tensor '" + name + "'", [&] {
    return parse_safetensors_dtype(entry["dtype"].get<std::string>());
  });
  std::uint64_t elements = 1;
  for (const std::uint64_t size : whole_numbers(entry["shape"], who + "shape")) {
    // Divided instead of multiplied, because the product could wrap around.
    if (size > kMaxElements || (size != 0 && elements > kMaxElements / size)) {
      bad_header(who + "shape has too many elements");
    }
    elements *= size;
    info.shape.push_back(static_cast<std::int64_t>(size));
  }
  const auto offsets = whole_numbers(entry["data_offsets"], who + "data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    bad_header(who + "data_offsets must be [begin, end] with begin <= end");
  }
  info.begin = offsets[0];
  info.end = offsets[1];
  // The format says the size twice; a file in which both differ was written or copied wrong.
  const std::uint64_t expected = elements * c10::elementSize(info.dtype);
  if (info.num_bytes() != expected) {
    bad_header(concat(who, "shape and dtype need ", expected, " bytes, data_offsets give ",
                      info.num_bytes()));
  }
  return info;
}

/// The rule for all entries together: they cover the data section without overlap or hole.
void check_coverage(std::vector<TensorInfo>& tensors, std::uint64_t data_bytes) {
  // In order of their data each must begin where the one before it ended. Empty tensors share a
  // place, so their order is settled by name.
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t position = 0;
  for (const TensorInfo& info : tensors) {
    if (info.end > data_bytes) {
      bad_header(concat("tensor '", info.name, "' ends at byte ", info.end,
                        " of the data, but the file holds ", data_bytes,
                        " bytes of data: the file is truncated, copy it again"));
    }
    if (info.begin < position) {
      bad_header(concat("tensor '", info.name, "' overlaps the one before it (begins at ",
                        info.begin, ", expected ", position, ")"));
    }
    if (info.begin > position) {
      bad_header(
          concat("hole of ", info.begin - position, " bytes in front of tensor '", info.name, "'"));
    }
    position = info.end;
  }
  if (position != data_bytes) {
    bad_header(concat(data_bytes - position, " bytes behind the last tensor"));
  }
}

std::map<std::string, std::string> parse_metadata(const Json& node) {
  if (!node.is_object()) {
    bad_header("__metadata__ is no object");
  }
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : node.items()) {
    if (!value.is_string()) {
      bad_header("__metadata__ key '" + key + "' is no string");
    }
    out[key] = value.get<std::string>();
  }
  return out;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file) {
  const std::uint64_t size = file.size();
  std::uint64_t header_bytes = 0;
  for (std::size_t i = 8; i > 0; --i) {  // little-endian, whatever this machine is
    header_bytes = (header_bytes << 8) | std::to_integer<std::uint64_t>(file[i - 1]);
  }
  if (header_bytes > kMaxHeaderBytes) {
    bad_header(concat("its length is ", header_bytes, ", the format allows at most ",
                      kMaxHeaderBytes, ": is this a safetensors file?"));
  }
  if (header_bytes > size - 8) {
    bad_header(concat("its length is ", header_bytes, ", but the file is ", size,
                      " bytes: the file is truncated, copy it again"));
  }
  if (header_bytes < 2 || file[8] != std::byte{'{'}) {
    bad_header("must begin with '{'");
  }
  const char* text = reinterpret_cast<const char*>(file.data()) + 8;
  const Json header = parse_strict(text, text + header_bytes);
  if (!header.is_object()) {
    bad_header("is no JSON object");
  }
  SafetensorsHeader out;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      out.metadata = parse_metadata(entry);
    } else {
      out.tensors.push_back(parse_entry(name, entry));
    }
  }
  check_coverage(out.tensors, size - 8 - header_bytes);
  for (TensorInfo& tensor : out.tensors) {  // offsets become absolute
    tensor.begin += 8 + header_bytes;
    tensor.end += 8 + header_bytes;
  }
  return out;
}

}  // namespace growmerge
