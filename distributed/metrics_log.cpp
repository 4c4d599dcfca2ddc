#include "distributed/metrics_log.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge::distributed {
namespace {

/// Keeps the lines up to `last_step`, without those of that step that hold `written_again`.
void cut_behind(const std::filesystem::path& path, std::int64_t last_step,
                const std::string& written_again) {
  const std::string text = read_file(path);
  std::string kept;
  std::size_t line_number = 1;
  for (std::size_t begin = 0; begin < text.size(); ++line_number) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) {
      break;  // cut short by a kill
    }
    const std::string line = text.substr(begin, end - begin);
    const auto json = nlohmann::json::parse(line, nullptr, false);
    GM_CHECK(json.is_object() && json.contains("step") && json["step"].is_number_integer(),
             kCorrupt, path.string(), ":", line_number,
             ": expected a JSON object with a whole number \"step\"; move the file away to go on");
    const auto step = json["step"].get<std::int64_t>();
    const bool comes_again =
        step == last_step && !written_again.empty() && json.contains(written_again);
    if (step <= last_step && !comes_again) {
      kept += line + "\n";
    }
    begin = end + 1;
  }
  // Nothing to drop is the common case, and rewriting a long file would only risk it.
  if (kept.size() != text.size()) {
    write_file_atomically(path, kept);
  }
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& dir, std::int64_t start_step,
                       const std::string& written_again)
    : path_(dir / "metrics.jsonl") {
  if (std::filesystem::exists(path_)) {
    cut_behind(path_, start_step, written_again);
  }
  file_.open(path_, std::ios::app);
  GM_CHECK(file_.good(), kIo, "opening ", path_.string(), " to append failed");
  events_ = std::make_unique<EventFile>(dir / "tensorboard", start_step);
}

void MetricsLog::write(std::int64_t step, const std::map<std::string, double>& values) {
  nlohmann::ordered_json line;
  line["step"] = step;
  for (const auto& [name, value] : values) {
    if (std::isfinite(value)) {
      line[name] = value;
    } else {
      // JSON knows neither NaN nor infinity; readers refuse a file that has them.
      line[name] = nullptr;
    }
  }
  file_ << line.dump() << "\n" << std::flush;
  GM_CHECK(file_.good(), kIo, "writing ", path_.string(), " failed: is the disk full?");
  events_->write(step, values);
}

}  // namespace growmerge::distributed
