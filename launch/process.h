// This process among others: was it started by mpirun or srun, how many threads it gets, and the
// environment (the only place of growmerge that reads it).
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "core/contracts/communicator.h"

namespace growmerge::launch {

struct RankEnvironment {
  bool under_launcher = false;  // mpirun, or srun with a process manager
  int size = 1;                 // 0: the launcher does not say
  int rank = 0;
  std::string launcher;  // "mpirun", "srun"
};
[[nodiscard]] RankEnvironment rank_environment();

/// For a process without a launcher. Errors: kDistributed when srun started several that know
/// nothing of each other (no --mpi=pmix).
void require_one_process();

/// The executable itself, to start stages with.
[[nodiscard]] std::filesystem::path executable_path();

/// Runs `work` as this process's share of the job: opens MPI only where a launcher started it, sets
/// the log up, opens the CUDA back end where there is one, sets the number of threads
/// (OMP_NUM_THREADS, else this rank's share of the machine's cores), makes a rank that waits for
/// its peers give up after GROWMERGE_TIMEOUT_S seconds (half an hour by default, 0 never; training
/// has its own timeout_s), points the hash cache at the
/// user's cache folder and catches what reaches it. Returns the exit code.
int run_process(int* argc, char*** argv, const std::function<int(Communicator&)>& work);

/// The same for work of one plain process that needs neither ranks nor threads nor devices.
int run_plain(const std::function<int()>& work);

/// Where huggingface_hub keeps models: $HF_HUB_CACHE, else $HF_HOME/hub, else
/// ~/.cache/huggingface/hub. Empty where there is no home either.
[[nodiscard]] std::filesystem::path hub_cache_dir();

/// What a terminal is for: colours and progress lines.
[[nodiscard]] bool is_terminal();

}  // namespace growmerge::launch
