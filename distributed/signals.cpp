#include "distributed/signals.h"

#include <signal.h>

#include <atomic>

namespace growmerge::distributed {
namespace {

std::atomic<int> last_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler needs a lock-free flag");
int depth = 0;
struct sigaction former_term;
struct sigaction former_usr1;
struct sigaction former_int;

void remember(int signal) {
  // Ctrl-C a second time: at once.
  if (last_signal.exchange(signal, std::memory_order_relaxed) == SIGINT && signal == SIGINT) {
    ::signal(SIGINT, SIG_DFL);
    ::raise(SIGINT);
  }
}

}  // namespace

StopSignals::StopSignals() {
  if (depth++ == 0) {
    struct sigaction action = {};
    action.sa_handler = remember;
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
