#include "launch/stage_driver.h"

#include <optional>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/store/stage_output.h"
#include "launch/stage_identity.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

/// NAME.tmp, with what is begun there and its config. Rank 0 alone.
void open_output(std::optional<StageOutput>& output, const PlannedStage& stage,
                 const fs::path& out) {
  GM_CHECK(stage.state != OutputState::kChanged, kInvalidArgument, "output '", out.string(),
           "' is there already, from other inputs or settings:\n", stage.change,
           "remove it, or choose another --out");
  GM_CHECK(stage.state != OutputState::kDamaged, kCorrupt, "output '", out.string(),
           "' is there already, but damaged: ", stage.change,
           ". Remove it to have it made again, or choose another --out");
  output.emplace(out, stage.plan.resumable);
  mark_begun(out, stage.manifest);
  write_file_atomically(output->dir() / "config.yaml", stage.plan.config);
}

/// Rank 0 alone.
void finish_output(StageOutput& output, const PlannedStage& stage, StageRun& run,
                   const fs::path& out) {
  stage.inputs.check(stage.plan, stage.manifest);
  if (stage.manifest.identity.empty()) {
    // The work has read all inputs and left their hashes where this finds them.
    run.manifest.inputs = planned_manifest(stage.plan).inputs;
    stage.inputs.check(stage.plan, stage.manifest);  // also while it found them
  }
  for (FileRecord& file : run.files) {
    output.record_file(std::move(file));
  }
  finish_begun(out);
  output.finish(run.manifest);
}

}  // namespace

int run_stage(const Command& command, const CommandLine& line, const YamlNode& config,
              Communicator& comm) {
  const PlannedStage stage = plan_stage(command, line, config, comm);
  if (stage.state == OutputState::kUpToDate) {
    if (comm.is_root()) {
      tidy_finished(line.out);
    }
    log_info("'" + line.out + "' is up to date, nothing to do");
    return 0;
  }
  const fs::path out = line.out;
  std::optional<StageOutput> output;
  run_agreed(comm, [&] {
    if (comm.is_root()) {
      open_output(output, stage, out);
    }
  });
  StageRun run{.comm = comm,
               .dir = partial_dir(out),
               .manifest = stage.manifest,
               .show_progress = comm.is_root(),
               .check_inputs = [&stage] { stage.inputs.check(stage.plan, stage.manifest); }};
  run.manifest.world_size = comm.size();
  command.stage.work(config, run);
  // No rank may still be writing when the directory gets its name.
  comm.barrier();
  run_agreed(comm, [&] {
    if (comm.is_root()) {
      finish_output(*output, stage, run, out);
    }
  });
  log_info("finished '" + line.out + "'");
  return 0;
}

}  // namespace growmerge::launch
