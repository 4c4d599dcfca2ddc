// Waiting for a stage's process: its latest line, its time limit, and signals passed on to it.
#pragma once

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>

#include "launch/experiment/child.h"

namespace growmerge::launch {

/// Counts SIGINT, SIGTERM and SIGUSR1 of this process while it lives; one at a time.
class SignalCounter {
 public:
  SignalCounter();
  ~SignalCounter();
  SignalCounter(const SignalCounter&) = delete;
  SignalCounter& operator=(const SignalCounter&) = delete;

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
  struct sigaction old_usr1_ {};
};

struct WatchSettings {
  std::string heading;           // "[3/7] base", in front of what is said
  bool is_one_process = true;    // no launcher between us and it
  bool saves_on_signal = false;  // StagePlan's
  double timeout_s = 0.0;        // 0: never
  std::filesystem::path log;     // where its output goes,
  std::uint64_t log_start = 0;   // from this byte on
};

/// Returns once the child has ended: true when we were asked to stop. Needs a SignalCounter.
[[nodiscard]] bool watch(Child& child, const WatchSettings& settings);

}  // namespace growmerge::launch
