#include "launch/experiment/run.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "core/base/error.h"
#include "launch/dry_run.h"
#include "launch/experiment/experiment.h"
#include "launch/experiment/schedule.h"
#include "launch/experiment/templates.h"
#include "launch/process.h"

namespace growmerge::launch {
namespace {

/// What would be done with each stage.
int dry_run(const Experiment& experiment) {
  std::printf("experiment %s: %zu stages into %s\n", experiment.name.c_str(),
              experiment.stages.size(), experiment.out.c_str());
  // What is not up to date makes all behind it wait: their inputs cannot be read yet.
  std::set<std::string> pending;
  for (const ExperimentStage& stage : experiment.stages) {
    const bool waits =
        std::any_of(stage.needs.begin(), stage.needs.end(),
                    [&](const std::string& need) { return pending.count(need) != 0; });
    std::string needs;
    for (const std::string& need : stage.needs) {
      needs += (needs.empty() ? "" : ", ") + need;
    }
    std::printf("\n== %s (%s, %d rank%s)%s%s\n", stage.name.c_str(), stage.command->name,
                stage.ranks, stage.ranks == 1 ? "" : "s", needs.empty() ? "" : ", needs ",
                needs.c_str());
    if (waits) {
      std::fputs(waiting_text(*stage.command, stage.config, stage.dir.string()).c_str(), stdout);
      pending.insert(stage.name);
      continue;
    }
    const PlannedStage planned = plan_stage(stage.command->stage.plan(stage.config), stage.dir);
    if (planned.state != OutputState::kUpToDate) {
      pending.insert(stage.name);
    }
    std::fputs(dry_run_text(planned, *stage.command, stage.config, stage.dir.string(), stage.ranks)
                   .c_str(),
               stdout);
  }
  return 0;
}

}  // namespace

int run_experiment(const CommandLine& line) {
  // Under mpirun every rank would start all stages.
  const RankEnvironment environment = rank_environment();
  std::string path = line.config_path;
  if (path.empty() && line.paths.size() == 1) {
    path = line.paths.front();
  }
  GM_CHECK(!path.empty() && (line.paths.empty() || line.config_path.empty()), kInvalidArgument,
           "'run' takes one experiment: growmerge run --config EXPERIMENT.yaml --out DIR");
  GM_CHECK(!environment.under_launcher, kInvalidArgument,
           "'run' starts mpirun for each stage itself and must not run under ",
           environment.launcher, ": start it as\n  growmerge run --config ", path,
           line.out.empty() ? "" : " --out " + line.out);
  require_one_process();
  const Experiment experiment = load_experiment(path, line.overrides, line.out);
  if (line.print_config) {
    for (const ExperimentStage& stage : experiment.stages) {
      std::printf("--- # %s: growmerge %s, %d rank(s)\n%s", stage.name.c_str(), stage.command->name,
                  stage.ranks, node_to_yaml(stage.config).c_str());
    }
    return 0;
  }
  if (line.dry_run) {
    return dry_run(experiment);
  }
  return run_stages(experiment);
}

}  // namespace growmerge::launch
