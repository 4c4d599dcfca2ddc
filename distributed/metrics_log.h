// What training measured: metrics.jsonl (one JSON object a line) and TensorBoard event files.
//
// A line has "step" and named numbers. metrics.jsonl is the record (full precision, in order of
// steps, cut at the step that a run resumes from); tensorboard/ is for looking at.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "distributed/event_file.h"

namespace growmerge::distributed {

class MetricsLog {
 public:
  /// Goes on behind `start_step`: later lines of an earlier run are dropped, and those of
  /// start_step that hold the number `written_again` (none where it is empty). Errors: kIo,
  /// kCorrupt (a line that is no JSON object; the last one may be cut short, and is dropped).
  MetricsLog(const std::filesystem::path& dir, std::int64_t start_step,
             const std::string& written_again = "");

  /// Values that are not finite are written as null. Errors: kIo.
  void write(std::int64_t step, const std::map<std::string, double>& values);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
  std::unique_ptr<EventFile> events_;
};

}  // namespace growmerge::distributed
