#include "distributed/signals.h"

#include <signal.h>
#include <time.h>

#include <atomic>
#include <cstdint>

namespace growmerge::distributed {
namespace {

std::atomic<int> last_signal{0};
std::atomic<std::int64_t> first_interrupt_ms{0};
static_assert(std::atomic<int>::is_always_lock_free &&
                  std::atomic<std::int64_t>::is_always_lock_free,
              "a signal handler needs lock-free flags");
// Sessions nest (a command's and the trainer's); the outermost one puts the handlers back.
int depth = 0;
struct sigaction former_term;
struct sigaction former_usr1;
struct sigaction former_int;

std::int64_t now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * std::int64_t{1000} + now.tv_nsec / 1000000;
}

void remember(int signal) {
  const int before = last_signal.exchange(signal, std::memory_order_relaxed);
  if (signal != SIGINT) {
    return;
  }
  if (before != SIGINT) {
    first_interrupt_ms.store(now_ms(), std::memory_order_relaxed);
  } else if (now_ms() - first_interrupt_ms.load(std::memory_order_relaxed) >= kSameSignalMs) {
    ::signal(SIGINT, SIG_DFL);  // Ctrl-C a second time: at once
    ::raise(SIGINT);
  }
}

}  // namespace

StopSignals::StopSignals() {
  if (depth++ == 0) {
    struct sigaction action = {};
    action.sa_handler = remember;
    // Reads and writes that a signal interrupts go on: stopping is decided between steps.
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, &former_term);
    sigaction(SIGUSR1, &action, &former_usr1);
    sigaction(SIGINT, &action, &former_int);
    if (former_int.sa_handler == SIG_IGN) {  // a shell's background job: Ctrl-C is not for us
      sigaction(SIGINT, &former_int, nullptr);
    }
  }
}

StopSignals::~StopSignals() {
  if (--depth == 0) {
    sigaction(SIGTERM, &former_term, nullptr);
    sigaction(SIGUSR1, &former_usr1, nullptr);
    sigaction(SIGINT, &former_int, nullptr);
  }
}

int StopSignals::requested() { return last_signal.load(std::memory_order_relaxed); }

void StopSignals::clear() { last_signal.store(0, std::memory_order_relaxed); }

const char* stop_signal_name(int signal) {
  return signal == SIGTERM   ? "SIGTERM"
         : signal == SIGUSR1 ? "SIGUSR1"
         : signal == SIGINT  ? "SIGINT"
                             : "no signal";
}

}  // namespace growmerge::distributed
