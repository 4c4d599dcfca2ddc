// TensorBoard event files: scalars, readable by the `tensorboard` package.
//
// Format: a sequence of TFRecords {uint64 length, uint32 masked CRC-32C of the length, bytes,
// uint32 masked CRC-32C of the bytes}, little-endian, each an Event protocol buffer: wall_time (1,
// double), step (2, varint) and one of file_version (3), summary (5), session_log (7). The mask of
// a CRC c is rotate_right(c, 15) + 0xa282ead8. Encoded by hand: no protobuf is needed for five
// fields.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

namespace growmerge::distributed {

class EventFile {
 public:
  /// Makes DIR/events.out.tfevents.TIME.HOST.PID and says that the run (re)starts behind
  /// `start_step`: TensorBoard then drops later points of earlier files. Errors: kIo.
  EventFile(const std::filesystem::path& dir, std::int64_t start_step);

  /// One event with all scalars (names as in "loss/de"), written through. Errors: kIo.
  void write(std::int64_t step, const std::map<std::string, double>& scalars);

 private:
  void append(const std::string& event);
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Closer> file_;
};

}  // namespace growmerge::distributed
