#include "launch/experiment/launcher.h"

#include <unistd.h>

#include <thread>

#include "launch/process.h"

namespace growmerge::launch {
namespace {

std::vector<std::string> mpirun_words(const ExperimentStage& stage, const RunSettings& settings) {
  // When a rank ends badly, mpirun sends SIGTERM to the others and waits so long before
  // SIGKILL. We ask for checkpoints with SIGUSR1, which has no such clock, so a few seconds are
  // enough.
  std::vector<std::string> out = {settings.mpirun,
                                  "-np",
                                  std::to_string(stage.ranks),
                                  "--oversubscribe",
                                  "--mca",
                                  "odls_base_sigkill_timeout",
                                  "5"};
  if (geteuid() == 0) {
    out.emplace_back("--allow-run-as-root");
  }
  if (stage.ranks > static_cast<int>(std::thread::hardware_concurrency())) {
    // A rank that waits must leave its core to the one it waits for.
    out.insert(out.end(), {"--mca", "mpi_yield_when_idle", "1"});
  }
  out.insert(out.end(), settings.mpirun_options.begin(), settings.mpirun_options.end());
  return out;
}

}  // namespace

StageStart local_start(const ExperimentStage& stage, const RunSettings& settings,
                       const std::filesystem::path& config) {
  StageStart out;
  if (stage.ranks > 1) {
    out.arguments = mpirun_words(stage, settings);
  }
  out.arguments.insert(out.arguments.end(),
                       {executable_path().string(), stage.command->name, "--config",
                        config.string(), "--out", stage.dir.string()});
  if (stage.threads > 0) {
    out.environment["OMP_NUM_THREADS"] = std::to_string(stage.threads);
  }
  return out;
}

}  // namespace growmerge::launch
