#include "core/store/safetensors.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <nlohmann/json.hpp>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/store/hashes.h"

namespace growmerge {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 56;

struct DtypeRow {
  const char* file_name;    // as safetensors headers name it
  const char* config_name;  // as configs name it
  at::ScalarType type;
};
constexpr DtypeRow kDtypes[] = {
    {"F64", "float64", at::ScalarType::Double}, {"F32", "float32", at::ScalarType::Float},
    {"F16", "float16", at::ScalarType::Half},   {"BF16", "bfloat16", at::ScalarType::BFloat16},
    {"I64", "int64", at::ScalarType::Long},     {"I32", "int32", at::ScalarType::Int},
    {"I16", "int16", at::ScalarType::Short},    {"I8", "int8", at::ScalarType::Char},
    {"U8", "uint8", at::ScalarType::Byte},      {"BOOL", "bool", at::ScalarType::Bool}};

struct FileDescriptor {
  explicit FileDescriptor(int fd_in) : fd(fd_in) {}
  ~FileDescriptor() { reset(); }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  void reset() {
    if (fd >= 0) {
      ::close(fd);
    }
    fd = -1;
  }
  int fd;
};

[[noreturn]] void bad_header(const std::string& what) {
  fail(ErrorCode::kCorrupt, "header: ", what);
}

/// Parses JSON and refuses a name that stands twice in one object (the parser alone would keep the
/// last one).
Json parse_strict(const char* begin, const char* end) {
  std::vector<std::unordered_set<std::string>> names;
  const auto callback = [&names](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
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
  const std::uint64_t expected = elements * c10::elementSize(info.dtype);
  if (info.num_bytes() != expected) {
    bad_header(concat(who, "shape and dtype need ", expected, " bytes, data_offsets give ",
                      info.num_bytes()));
  }
  return info;
}

/// The rule for all entries together: they cover the data section without overlap or hole.
void check_coverage(std::vector<TensorInfo>& tensors, std::uint64_t data_bytes) {
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

std::int64_t TensorInfo::num_elements() const {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    count *= size;
  }
  return count;
}

struct SafetensorsFile::Impl {
  ~Impl() {
    if (data != nullptr) {
      ::munmap(data, size);
    }
  }
  void map();
  void parse();

  std::filesystem::path path;
  std::byte* data = nullptr;
  std::uint64_t size = 0;
  std::vector<TensorInfo> tensors;
  std::unordered_map<std::string, std::size_t> index;
  std::map<std::string, std::string> metadata;
};

void SafetensorsFile::Impl::map() {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0 && errno == ENOENT) {
    fail(ErrorCode::kNotFound, "no such file");
  }
  if (file.fd < 0) {
    fail(ErrorCode::kIo, "cannot open: ", std::strerror(errno));
  }
  struct stat status {};
  GM_CHECK(::fstat(file.fd, &status) == 0, kIo, "cannot stat: ", std::strerror(errno));
  GM_CHECK(S_ISREG(status.st_mode), kIo, "is no regular file");
  size = static_cast<std::uint64_t>(status.st_size);
  if (size < 8) {
    bad_header(concat("file is ", size, " bytes, needs at least 8"));
  }
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  GM_CHECK(mapped != MAP_FAILED, kIo, "cannot map: ", std::strerror(errno));
  data = static_cast<std::byte*>(mapped);
}

void SafetensorsFile::Impl::parse() {
  std::uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) {
    header_bytes = (header_bytes << 8) | std::to_integer<std::uint64_t>(data[i]);
  }
  if (header_bytes > kMaxHeaderBytes) {
    bad_header(concat("its length is ", header_bytes, ", the format allows at most ",
                      kMaxHeaderBytes, ": is this a safetensors file?"));
  }
  if (header_bytes > size - 8) {
    bad_header(concat("its length is ", header_bytes, ", but the file is ", size,
                      " bytes: the file is truncated, copy it again"));
  }
  if (header_bytes < 2 || data[8] != std::byte{'{'}) {
    bad_header("must begin with '{'");
  }
  const char* text = reinterpret_cast<const char*>(data) + 8;
  const Json header = parse_strict(text, text + header_bytes);
  if (!header.is_object()) {
    bad_header("is no JSON object");
  }
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      metadata = parse_metadata(entry);
    } else {
      tensors.push_back(parse_entry(name, entry));
    }
  }
  check_coverage(tensors, size - 8 - header_bytes);
  for (std::size_t i = 0; i < tensors.size(); ++i) {  // offsets become absolute
    tensors[i].begin += 8 + header_bytes;
    tensors[i].end += 8 + header_bytes;
    index.emplace(tensors[i].name, i);
  }
}

SafetensorsFile::SafetensorsFile() : impl_(std::make_unique<Impl>()) {}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file;
  file.impl_->path = path;
  with_context("loading '" + path.string() + "'", [&file] {
    file.impl_->map();
    file.impl_->parse();
  });
  return file;
}

const std::filesystem::path& SafetensorsFile::path() const { return impl_->path; }
const std::vector<TensorInfo>& SafetensorsFile::tensors() const { return impl_->tensors; }
bool SafetensorsFile::contains(const std::string& name) const {
  return impl_->index.count(name) != 0;
}
const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return impl_->metadata;
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto it = impl_->index.find(name);
  if (it == impl_->index.end()) {
    std::vector<std::string> names;
    for (const TensorInfo& tensor : impl_->tensors) {
      names.push_back(tensor.name);
    }
    const std::string nearest = nearest_name(name, names);
    fail(ErrorCode::kNotFound, "'", impl_->path.string(), "' has no tensor '", name, "'",
         nearest.empty() ? "" : "; the nearest name is '" + nearest + "'");
  }
  return impl_->tensors[it->second];
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorInfo& info) const {
  GM_ASSERT(info.begin <= info.end && info.end <= impl_->size);
  return {impl_->data + info.begin, info.num_bytes()};
}

std::span<const std::byte> SafetensorsFile::all_bytes() const { return {impl_->data, impl_->size}; }

at::Tensor SafetensorsFile::load(const std::string& name) const {
  const TensorInfo& wanted = info(name);
  at::Tensor out = at::empty(wanted.shape, at::TensorOptions().dtype(wanted.dtype));
  const auto source = bytes(wanted);
  if (!source.empty()) {
    std::memcpy(out.data_ptr(), source.data(), source.size());
  }
  return out;
}

void SafetensorsFile::drop(const TensorInfo& info) const {
  // Only whole pages inside the tensor: its neighbours may still be in use.
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = (info.begin + page - 1) / page * page;
  const std::uint64_t end = info.end / page * page;
  if (begin < end) {
    ::madvise(impl_->data + begin, end - begin, MADV_DONTNEED);
  }
}

struct SafetensorsWriter::Impl {
  ~Impl() {
    if (file.fd >= 0 && !finished) {
      ::unlink(partial.c_str());
    }
  }
  struct Slot {
    Entry entry;
    std::uint64_t begin = 0;  // absolute in the file
    std::uint64_t bytes = 0;
    std::atomic<std::uint64_t> written{0};
  };

  Slot& slot(const std::string& name) {
    const auto it = index.find(name);
    GM_CHECK(it != index.end(), kInvalidArgument, "writing '", path.string(), "': no tensor '",
             name, "' was announced");
    return *it->second;
  }
  void put(std::uint64_t offset, const std::byte* data, std::uint64_t size) {
    while (size > 0) {
      const ssize_t done = ::pwrite(file.fd, data, size, static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) {
        continue;
      }
      if (done < 0) {
        io_error(path, "writing", errno);
      }
      data += done;
      offset += static_cast<std::uint64_t>(done);
      size -= static_cast<std::uint64_t>(done);
      start_writeback(static_cast<std::uint64_t>(done));
    }
  }
  /// Has the kernel write what is there while more is computed, so that syncing at the end waits
  /// for little. No promise: an error shows in fsync().
  void start_writeback(std::uint64_t bytes) {
    constexpr std::uint64_t kEvery = std::uint64_t{32} << 20;
    const std::uint64_t before = handed_over.fetch_add(bytes);
    if (before / kEvery != (before + bytes) / kEvery) {
      (void)::sync_file_range(file.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
  }

  void check_complete() const {
    for (const Slot& slot : slots) {
      GM_CHECK(slot.written == slot.bytes, kInternal, "writing '", path.string(), "': tensor '",
               slot.entry.name, "' has ", slot.written.load(), " of ", slot.bytes, " bytes");
    }
  }
  void hash_to(std::uint64_t end) {
    std::vector<std::byte> buffer(std::min<std::uint64_t>(end - std::min(end, hashed), kHashBytes));
    while (hashed < end) {
      const std::size_t wanted = std::min<std::uint64_t>(end - hashed, buffer.size());
      const ssize_t done = ::pread(file.fd, buffer.data(), wanted, static_cast<off_t>(hashed));
      if (done < 0 && errno == EINTR) {
        continue;
      }
      if (done <= 0) {
        io_error(path, "reading back", done < 0 ? errno : EIO);
      }
      hash.update(std::span(buffer).first(static_cast<std::size_t>(done)));
      hashed += static_cast<std::uint64_t>(done);
    }
  }

  static constexpr std::uint64_t kHashBytes = std::uint64_t{1} << 18;  // half an L2 cache
  std::atomic<std::uint64_t> handed_over{0};
  std::filesystem::path path;
  std::filesystem::path partial;  // what is written until finish() renames it
  FileDescriptor file{-1};
  std::deque<Slot> slots;
  std::unordered_map<std::string, Slot*> index;
  bool finished = false;
  std::uint64_t size = 0;  // of the whole file
  StreamHash hash;
  std::uint64_t hashed = 0;    // bytes
  std::size_t first_open = 0;  // slots before it are complete
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::span<const Entry> entries,
                                     const std::map<std::string, std::string>& metadata)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->partial = path.string() + ".partial";
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    header["__metadata__"] = metadata;
  }
  std::uint64_t position = 0;
  for (const Entry& entry : entries) {
    Impl::Slot& slot = impl_->slots.emplace_back();
    slot.entry = entry;
    slot.begin = position;
    slot.bytes = c10::elementSize(entry.dtype);
    for (const std::int64_t size : entry.shape) {
      slot.bytes *= static_cast<std::uint64_t>(size);
    }
    position += slot.bytes;
    GM_CHECK(entry.name != "__metadata__" && impl_->index.emplace(entry.name, &slot).second,
             kInvalidArgument, "writing '", path.string(), "': tensor name '", entry.name,
             "' is used twice or reserved");
    header[entry.name] = {{"dtype", safetensors_dtype_name(entry.dtype)},
                          {"shape", entry.shape},
                          {"data_offsets", {slot.begin, position}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data begins aligned, as the format recommends
  std::string prefix(8, '\0');
  for (int i = 0; i < 8; ++i) {
    prefix[i] = static_cast<char>((text.size() >> (8 * i)) & 0xff);
  }
  prefix += text;
  for (Impl::Slot& slot : impl_->slots) {
    slot.begin += prefix.size();
  }
  impl_->file.fd = ::open(impl_->partial.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
                          S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
  if (impl_->file.fd < 0) {
    io_error(impl_->partial, "creating", errno);
  }
  // Space is claimed now, so that a full disk shows before hours of work. Where the file system
  // cannot do that, writing tells later.
  impl_->size = position + prefix.size();
  if (::fallocate(impl_->file.fd, 0, 0, static_cast<off_t>(impl_->size)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    io_error(path, "writing", errno);
  }
  impl_->put(0, reinterpret_cast<const std::byte*>(prefix.data()), prefix.size());
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(const std::string& name, const at::Tensor& tensor) {
  const Impl::Slot& slot = impl_->slot(name);
  GM_CHECK(tensor.scalar_type() == slot.entry.dtype && tensor.sizes() == slot.entry.shape,
           kMismatch, "writing '", impl_->path.string(), "': tensor '", name, "' is ",
           dtype_name(tensor.scalar_type()), " ", tensor.sizes(), ", announced was ",
           dtype_name(slot.entry.dtype), " ", at::IntArrayRef(slot.entry.shape));
  const at::Tensor source = tensor.cpu().contiguous();
  write_bytes(name, 0, {static_cast<const std::byte*>(source.data_ptr()), slot.bytes});
}

void SafetensorsWriter::write_bytes(const std::string& name, std::uint64_t offset,
                                    std::span<const std::byte> bytes) {
  Impl::Slot& slot = impl_->slot(name);
  GM_ASSERT(offset <= slot.bytes && bytes.size() <= slot.bytes - offset);
  impl_->put(slot.begin + offset, bytes.data(), bytes.size());
  slot.written += bytes.size();
}

void SafetensorsWriter::hash_complete_part(std::uint64_t max_bytes) {
  std::size_t& open = impl_->first_open;
  while (open < impl_->slots.size() && impl_->slots[open].written == impl_->slots[open].bytes) {
    ++open;
  }
  const std::uint64_t complete =
      open < impl_->slots.size() ? impl_->slots[open].begin : impl_->size;
  impl_->hash_to(std::min(complete, impl_->hashed + max_bytes));
}

std::string SafetensorsWriter::hash() {
  GM_ASSERT(!impl_->finished);
  impl_->check_complete();
  // The kernel writes while the rest is hashed; errors show in finish().
  (void)::sync_file_range(impl_->file.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
  impl_->hash_to(impl_->size);
  return impl_->hash.digest();
}

void SafetensorsWriter::finish() {
  impl_->check_complete();
  if (::fsync(impl_->file.fd) != 0) {
    io_error(impl_->path, "syncing", errno);
  }
  if (::rename(impl_->partial.c_str(), impl_->path.c_str()) != 0) {
    io_error(impl_->path, "renaming", errno);
  }
  impl_->finished = true;
  impl_->file.reset();
}

void save_safetensors(const std::filesystem::path& path, const ParamMap& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, entries, metadata);
  for (const auto& [name, tensor] : tensors) {
    writer.write(name, tensor);
  }
  writer.finish();
}

ParamMap load_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  ParamMap out;
  for (const TensorInfo& info : file.tensors()) {
    out.set(info.name, file.load(info.name));
  }
  return out;
}

std::string safetensors_dtype_name(at::ScalarType dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.type == dtype) {
      return row.file_name;
    }
  }
  fail(ErrorCode::kUnsupported, "dtype ", c10::toString(dtype), " has no safetensors name here");
}

at::ScalarType parse_safetensors_dtype(const std::string& name) {
  std::string known;
  for (const DtypeRow& row : kDtypes) {
    if (name == row.file_name) {
      return row.type;
    }
    known += std::string(known.empty() ? "" : ", ") + row.file_name;
  }
  fail(ErrorCode::kUnsupported, "dtype '", name, "' is not supported (known: ", known,
       "); quantised models must be converted to bfloat16 or float32 first");
}

at::ScalarType parse_dtype(const std::string& name, const std::string& what) {
  for (const DtypeRow& row : kDtypes) {
    if (name == row.config_name && c10::isFloatingType(row.type)) {
      return row.type;
    }
  }
  fail(ErrorCode::kInvalidArgument, what, ": unknown dtype '", name,
       "', expected float32, bfloat16, float16 or float64");
}

std::string dtype_name(at::ScalarType dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.type == dtype) {
      return row.config_name;
    }
  }
  return c10::toString(dtype);
}

}  // namespace growmerge
