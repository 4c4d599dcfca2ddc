#include "distributed/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/base/crc32c.h"
#include "core/base/error.h"

namespace growmerge::distributed {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie");

/// TFRecord's masking: a checksum of data that holds its own checksum would be no good one.
std::uint32_t masked_crc(const void* data, std::size_t size) {
  return std::rotr(crc32c(data, size), 15) + 0xa282ead8U;
}

template <class T>
void put_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// Seven bits a byte, the lowest first; a set top bit says that more follow.
void put_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80U) {
    out.push_back(static_cast<char>((value & 0x7fU) | 0x80U));
    value >>= 7U;
  }
  out.push_back(static_cast<char>(value));
}

// Wire types of protocol buffers.
enum Wire : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_key(std::string& out, std::uint32_t field, Wire wire) {
  put_varint(out, (field << 3U) | wire);
}

void put_bytes(std::string& out, std::uint32_t field, const std::string& bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

/// An Event's first fields: 1 wall_time (double), 2 step. The caller adds what happened.
std::string event(std::int64_t step) {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string out;
  put_key(out, 1, kFixed64);
  put_raw(out, now);
  put_key(out, 2, kVarint);
  put_varint(out, static_cast<std::uint64_t>(step));
  return out;
}

/// TensorBoard reads files whose name holds "tfevents", in order of name: by second, so that a
/// restart comes behind.
std::string event_path_name() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  return concat("events.out.tfevents.", now, ".", host.data(), ".", getpid());
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& dir, std::int64_t start_step)
    : path_(dir / event_path_name()) {
  std::error_code failed;
  std::filesystem::create_directories(dir, failed);
  file_.reset(std::fopen(path_.c_str(), "wb"));
  GM_CHECK(file_ != nullptr, kIo, "creating ", path_.string(), ": ", std::strerror(errno));
  std::string version = event(0);
  put_bytes(version, 3, "brain.Event:2");
  append(version);
  // Tells TensorBoard to drop the points of a former process from this step on.
  std::string session;
  put_key(session, 1, kVarint);
  put_varint(session, 1);  // SessionLog.START
  std::string start = event(start_step + 1);
  put_bytes(start, 7, session);
  append(start);
}

void EventFile::write(std::int64_t step, const std::map<std::string, double>& scalars) {
  std::string summary;
  for (const auto& [name, value] : scalars) {
    std::string entry;
    // Summary.Value: 1 tag, 2 simple_value (float).
    put_bytes(entry, 1, name);
    put_key(entry, 2, kFixed32);
    put_raw(entry, static_cast<float>(value));
    put_bytes(summary, 1, entry);
  }
  std::string out = event(step);
  put_bytes(out, 5, summary);
  append(out);
}

void EventFile::append(const std::string& event) {
  std::string record;
  put_raw(record, static_cast<std::uint64_t>(event.size()));
  put_raw(record, masked_crc(record.data(), 8));
  record += event;
  put_raw(record, masked_crc(event.data(), event.size()));
  const std::size_t written = std::fwrite(record.data(), 1, record.size(), file_.get());
  // Flushed at once: people look while training runs, and a kill must not lose lines.
  GM_CHECK(written == record.size() && std::fflush(file_.get()) == 0, kIo, "writing ",
           path_.string(), ": ", std::strerror(errno));
}

}  // namespace growmerge::distributed
