#include "launch/experiment/watch.h"

#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "distributed/signals.h"
#include "launch/process.h"

namespace growmerge::launch {
namespace {

using Clock = std::chrono::steady_clock;

// A handler may only set a flag; there is one set of handlers in a process.
volatile std::sig_atomic_t signals_received = 0;
extern "C" void count_signal(int) { signals_received = signals_received + 1; }

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Watcher {
 public:
  Watcher(Child& child, const WatchSettings& settings) : child_(child), settings_(settings) {}

  bool run() {
    while (!child_.poll()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      keep_time();
      pass_signals_on();
      // A process that was asked and does not end in the time that a checkpoint takes hangs.
      if (asked_ && seconds_since(*asked_) > 150.0) {
        child_.signal(SIGKILL);
      }
      if (seconds_since(shown_) > (is_terminal() ? 0.5 : 10.0)) {
        shown_ = Clock::now();
        show();
      }
    }
    if (is_terminal()) {
      std::fprintf(stderr, "\r\033[K");
    }
    return passed_on_ > 0;
  }

 private:
  void keep_time() {
    const double limit = settings_.timeout_s;
    if (limit > 0.0 && !asked_ && seconds_since(start_) > limit) {
      log_error(
          concat(settings_.heading, ": took longer than run.timeout_s = ", limit, " s, stopping"));
      child_.signal(settings_.saves_on_signal ? SIGUSR1 : SIGTERM);
      asked_ = Clock::now();
    }
  }

  void pass_signals_on() {
    const bool signalled = signals_received > seen_;
    seen_ = signals_received;
    // Whoever signals a process and then its group asks once.
    if (!signalled ||
        (passed_on_ > 0 && seconds_since(*asked_) * 1000.0 < distributed::kSameSignalMs)) {
      return;
    }
    ++passed_on_;
    // A stage that can save does so on SIGUSR1, and mpirun passes it on without a clock.
    // The second time a lone process, which takes SIGTERM as the same wish, is killed; mpirun
    // does that itself to its ranks.
    child_.signal(!settings_.saves_on_signal  ? SIGTERM
                  : passed_on_ == 1           ? SIGUSR1
                  : !settings_.is_one_process ? SIGTERM
                                              : SIGKILL);
    asked_ = Clock::now();
    log_info(settings_.heading +
             (passed_on_ == 1 && settings_.saves_on_signal
                  ? ": stopping; it writes a checkpoint first (again to end at once)"
                  : ": stopping"));
  }

  void show() {
    const std::vector<std::string> tail = tail_of(settings_.log, 1, settings_.log_start);
    if (tail.empty() || (tail.back() == last_ && !is_terminal())) {
      return;
    }
    last_ = tail.back();
    if (is_terminal()) {
      std::fprintf(stderr, "\r\033[K%s  %.*s", settings_.heading.c_str(), 100, last_.c_str());
      std::fflush(stderr);
    } else {
      std::fprintf(stderr, "%s  %s\n", settings_.heading.c_str(), last_.c_str());
    }
  }

  Child& child_;
  const WatchSettings& settings_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = start_;
  std::optional<Clock::time_point> asked_;  // to end, by whomever
  int seen_ = 0;
  int passed_on_ = 0;
  std::string last_;
};

}  // namespace

SignalCounter::SignalCounter() {
  signals_received = 0;
  struct sigaction action {};
  action.sa_handler = &count_signal;
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
  sigaction(SIGUSR1, &action, &old_usr1_);
}

SignalCounter::~SignalCounter() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGUSR1, &old_usr1_, nullptr);
}

bool watch(Child& child, const WatchSettings& settings) { return Watcher(child, settings).run(); }

}  // namespace growmerge::launch
