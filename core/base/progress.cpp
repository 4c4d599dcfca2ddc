#include "core/base/progress.h"

#include <unistd.h>

#include <cstdio>

#include "core/base/format.h"
#include "core/base/log.h"

namespace growmerge {

Progress::Progress(std::string title, std::int64_t total, std::string unit, bool visible)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      visible_(visible),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      last_print_(start_) {}

Progress::~Progress() { finish(); }

void Progress::update(std::int64_t done, const std::string& extra) {
  const auto now = std::chrono::steady_clock::now();
  if (first_done_ < 0) {
    first_done_ = done;
    first_update_ = now;
  }
  done_ = done;
  extra_ = extra;
  // A terminal's line is drawn over in place; in a file each one stays, so there are few.
  const auto interval =
      terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000);
  if (visible_ && now - last_print_ >= interval && done_ > first_done_) {
    last_print_ = now;
    print(false);
  }
}

void Progress::finish() {
  if (!finished_ && visible_) {
    print(true);
  }
  finished_ = true;
}

void Progress::print(bool last) {
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  // What was done before a resume is no part of the rate.
  const bool has_rate = done_ > first_done_ && first_done_ >= 0;
  const double counted =
      has_rate ? std::chrono::duration<double>(now - first_update_).count() : seconds;
  const double rate =
      counted > 0.0 ? static_cast<double>(has_rate ? done_ - first_done_ : done_) / counted : 0.0;
  char numbers[160];
  if (total_ > 0) {
    const double left = rate > 0.0 ? static_cast<double>(total_ - done_) / rate : 0.0;
    std::snprintf(numbers, sizeof(numbers), "%ld/%ld %s, %.4g/s, %s %s", static_cast<long>(done_),
                  static_cast<long>(total_), unit_.c_str(), rate, last ? "took" : "left",
                  duration_text(last ? seconds : left).c_str());
  } else {
    std::snprintf(numbers, sizeof(numbers), "%ld %s, %.4g/s", static_cast<long>(done_),
                  unit_.c_str(), rate);
  }
  const std::string line = title_ + ": " + numbers + (extra_.empty() ? "" : ", " + extra_);
  if (terminal_) {
    // Back to the first column, and clear what a longer line left.
    std::fprintf(stderr, "\r\033[K%s%s", line.c_str(), last ? "\n" : "");
    std::fflush(stderr);
  } else {
    log_info(line);
  }
}

}  // namespace growmerge
