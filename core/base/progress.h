// Progress of long work: one line that is rewritten on a terminal, plain log lines every few
// seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace growmerge {

class Progress {
 public:
  /// `unit` names what is counted ("steps", "bytes", "pairs"). Only a visible one prints (rank 0).
  Progress(std::string title, std::int64_t total, std::string unit, bool visible);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` counts from the very beginning of the work, also after a resume: rate and ETA are those
  /// since the first update. `extra` is shown behind them ("loss 3.21").
  void update(std::int64_t done, const std::string& extra = "");
  void finish();

 private:
  void print(bool last);
  std::string title_;
  std::string unit_;
  std::string extra_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  std::int64_t first_done_ = -1;
  bool visible_;
  bool terminal_ = false;
  bool finished_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point first_update_;
  std::chrono::steady_clock::time_point last_print_;
};

}  // namespace growmerge
