#include "launch/process.h"

#include <ATen/Parallel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>

#include "core/base/error.h"
#include "core/base/failure.h"
#include "core/base/log.h"
#include "core/base/mapped_file.h"
#include "core/store/hashes.h"
#include "core/transformer/backend.h"
#include "distributed/mpi_communicator.h"
#include "distributed/signals.h"
#include "distributed/train.h"
#include "launch/safe_stdout.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int environment_number(const char* name, int fallback) {
  const std::string text = environment(name);
  return text.empty() ? fallback : std::atoi(text.c_str());
}

/// Empty where there is no home.
fs::path user_cache_dir() {
  if (!environment("XDG_CACHE_HOME").empty()) {
    return environment("XDG_CACHE_HOME");
  }
  return environment("HOME").empty() ? fs::path() : fs::path(environment("HOME")) / ".cache";
}

/// Without a home there is no cache: hashes are then computed each time.
void open_hash_cache() {
  const fs::path base = user_cache_dir();
  if (!base.empty()) {
    set_hash_cache(base / "growmerge" / "file_hashes.txt");
  }
}

/// How long a rank waits for the others where a stage sets nothing else.
double peer_timeout_s() {
  const std::string text = environment("GROWMERGE_TIMEOUT_S");
  return text.empty() ? distributed::TrainConfig{}.timeout_s : std::atof(text.c_str());
}

/// A launcher that sets OMP_NUM_THREADS has thought about it; else ranks share the cores.
void set_threads(Communicator& comm) {
  const int wanted = environment_number("OMP_NUM_THREADS", 0);
  at::set_num_threads(wanted > 0 ? wanted : distributed::threads_for_rank(comm));
}

LogLevel log_level() {
  return environment("GROWMERGE_LOG") == "debug" ? LogLevel::kDebug : LogLevel::kInfo;
}

/// The log first: what follows may already have something to say.
void set_up(const LogConfig& log) {
  configure_log(log);
  make_stdout_safe();
  watch_mapped_files();
  ::umask(::umask(0) | 022);  // others may read what we write, and no more
  open_hash_cache();
}

std::string bug_text(const std::exception& e) {
  return std::string("unexpected: ") + e.what() + " (please report this as a bug)";
}

/// Prints what reached main in a process without peers.
int report_failure(const std::exception& e) {
  const ErrorCode code = code_of(e);
  const bool is_ours = dynamic_cast<const Error*>(&e) != nullptr;
  log_error(code == ErrorCode::kInternal && !is_ours ? bug_text(e) : e.what());
  return exit_code(code);
}

}  // namespace

RankEnvironment rank_environment() {
  RankEnvironment out;
  if (!environment("OMPI_COMM_WORLD_SIZE").empty()) {
    out.under_launcher = true;
    out.launcher = "mpirun";
    out.size = environment_number("OMPI_COMM_WORLD_SIZE", 1);
    out.rank = environment_number("OMPI_COMM_WORLD_RANK", 0);
  } else if (!environment("PMIX_RANK").empty() || !environment("PMI_RANK").empty()) {
    out.under_launcher = true;
    out.launcher = environment("SLURM_STEP_ID").empty() ? "mpirun" : "srun";
    // Process managers differ in what they tell; 0 leaves it to MPI.
    out.size = environment_number(
        "PMI_SIZE",
        environment_number("SLURM_STEP_NUM_TASKS", environment_number("SLURM_NTASKS", 0)));
    out.rank = environment_number("PMIX_RANK", environment_number("PMI_RANK", 0));
  }
  return out;
}

void require_one_process() {
  // `srun --pty` gives its shell to the first task alone.
  GM_CHECK(
      environment_number("SLURM_STEP_NUM_TASKS", 1) == 1 || !environment("SLURM_PTY_PORT").empty(),
      kDistributed, "srun started ", environment("SLURM_STEP_NUM_TASKS"),
      " processes that do not know of each other and would write the same files: start them "
      "with srun --mpi=pmix, or with mpirun");
}

fs::path executable_path() {
  // Once: after a rebuild the link names a deleted file.
  static const fs::path path = [] {
    fs::path found = fs::read_symlink("/proc/self/exe");
    GM_CHECK(!found.string().ends_with(" (deleted)"), kNotFound, "the running program, '",
             found.string(), "', was replaced since it started: start it again");
    return found;
  }();
  return path;
}

fs::path hub_cache_dir() {
  if (!environment("HF_HUB_CACHE").empty()) {
    return environment("HF_HUB_CACHE");
  }
  // As huggingface_hub looks: HF_HOME, whose default heeds XDG_CACHE_HOME.
  const fs::path home = !environment("HF_HOME").empty() ? fs::path(environment("HF_HOME"))
                        : user_cache_dir().empty()      ? fs::path()
                                                        : user_cache_dir() / "huggingface";
  return home.empty() ? fs::path() : home / "hub";
}

bool is_terminal() { return isatty(STDERR_FILENO) == 1; }

int run_plain(const std::function<int()>& work) {
  set_up(LogConfig{.level = log_level()});
  try {
    return work();
  } catch (const std::exception& e) {
    return report_failure(e);
  }
}

int run_process(int* argc, char*** argv, const std::function<int(Communicator&)>& work) {
  const RankEnvironment place = rank_environment();
  set_up({.level = log_level(), .rank = place.rank, .world_size = place.size});
  try {
    // Before anything asks where tensors may lie.
    (void)open_cuda_backend("");
    // Starting MPI takes a second and a network, which one process needs not.
    if (!place.under_launcher) {
      require_one_process();
      const auto comm = make_single_process_communicator();
      set_threads(*comm);
      return work(*comm);
    }
    const distributed::StopSignals signals;
    const auto world = distributed::make_mpi_world(argc, argv);
    // From here on a rank that dies must not leave the others waiting for ever.
    world->set_timeout(peer_timeout_s());
    // Now by what MPI says, which the messages of all ranks go by.
    configure_log({.level = log_level(), .rank = world->rank(), .world_size = world->size()});
    GM_CHECK(place.size == 0 || world->size() == place.size, kDistributed, place.launcher,
             " started ", place.size, " ranks, but MPI sees ", world->size(),
             ": is this launcher of the MPI that growmerge was built with? (srun: --mpi=pmix)");
    set_threads(*world);
    return distributed::run_rank(*world, [&] {
      try {
        return work(*world);
      } catch (const Error&) {
        throw;
        // run_rank() tells the other ranks, by code; so everything becomes an Error here.
      } catch (const std::exception& e) {
        const ErrorCode code = code_of(e);
        throw Error(code, code == ErrorCode::kInternal ? bug_text(e) : e.what());
      }
    });
  } catch (const std::exception& e) {
    return report_failure(e);
  }
}

}  // namespace growmerge::launch
