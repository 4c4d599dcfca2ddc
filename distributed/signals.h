// SIGTERM, SIGUSR1 and SIGINT (Ctrl-C; a second one ends the process at once) as a request to stop
// at the next step boundary. timeout(1) and launchers signal a process and then its whole group, so
// what follows the first within half a second is the first one again.
//
// A signal handler may only set a flag, and a process has one set of handlers: the flag is the one
// piece of global state in this room. mpirun hands SIGUSR1 on at once. On SIGTERM it waits
// odls_base_sigkill_timeout seconds (1 by default), hands it on, waits as long again and kills the
// ranks, so whoever wants to stop a job under mpirun sends SIGUSR1. Slurm with --signal=USR1@N
// sends SIGUSR1 N seconds before the time limit.
#pragma once

namespace growmerge::distributed {

/// Milliseconds within which a second SIGINT is taken for a copy of the first.
inline constexpr int kSameSignalMs = 500;

/// Installs the handlers while it lives; restores the former ones afterwards. May be nested: the
/// outermost counts. `main` makes one as early as it can: before that, SIGUSR1 ends a process.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The last signal that arrived in this process since the first StopSignals was made, or 0.
  [[nodiscard]] static int requested();
  /// Forgets it: a new run starts.
  static void clear();
};

/// "SIGTERM", "SIGUSR1", "SIGINT".
[[nodiscard]] const char* stop_signal_name(int signal);

}  // namespace growmerge::distributed
