#include "launch/experiment/schedule.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/store/file_lock.h"
#include "core/store/stage_output.h"
#include "launch/experiment/child.h"
#include "launch/experiment/launcher.h"
#include "launch/experiment/loopback.h"
#include "launch/experiment/templates.h"
#include "launch/experiment/watch.h"
#include "launch/process.h"
#include "launch/stage_plan.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Why a stage stands where it does in the summary.
enum class Outcome { kDone, kSkipped, kFailed, kBlocked, kStopped };

struct StageResult {
  std::string name;
  Outcome outcome = Outcome::kDone;
  double seconds = 0.0;
};

class Runner {
 public:
  explicit Runner(const Experiment& experiment) : experiment_(experiment) {}

  int run() {
    const SignalCounter counter;
    (void)executable_path();  // before a rebuild can replace it
    fs::create_directories(experiment_.out);
    FileLock lock;
    lock.take(experiment_.out / ".run.lock", "'" + experiment_.out.string() + "' is being run",
              "wait for it, or choose another --out");
    // Before the first stage: it would be a pity to find out after hours.
    if (std::any_of(experiment_.stages.begin(), experiment_.stages.end(),
                    [](const ExperimentStage& stage) { return stage.ranks > 1; })) {
      require_network_interface();
    }
    std::set<std::string> failed;
    for (std::size_t i = 0; i < experiment_.stages.size(); ++i) {
      const ExperimentStage& stage = experiment_.stages[i];
      heading_ = concat("[", i + 1, "/", experiment_.stages.size(), "] ", stage.name);
      const bool blocked =
          std::any_of(stage.needs.begin(), stage.needs.end(),
                      [&](const std::string& need) { return failed.count(need) != 0; });
      const StageResult result =
          blocked ? StageResult{stage.name, Outcome::kBlocked} : run_or_refuse(stage);
      results_.push_back(result);
      // Whoever stops a run does not want the next stage to begin.
      if (result.outcome == Outcome::kStopped) {
        summarise();
        return exit_code(ErrorCode::kInterrupted);
      }
      if (result.outcome == Outcome::kFailed || blocked) {
        failed.insert(stage.name);
        if (!experiment_.settings.keep_going) {
          break;
        }
      }
    }
    summarise();
    return failed.empty() ? 0 : failure_code_;
  }

 private:
  /// A stage that cannot even be started has failed like any other.
  StageResult run_or_refuse(const ExperimentStage& stage) {
    const auto failed = [&](const char* what, ErrorCode code) {
      log_error(what);
      failure_code_ = exit_code(code);
      return StageResult{stage.name, Outcome::kFailed};
    };
    try {
      return run_stage_process(stage);
    } catch (const Error& e) {
      return failed(e.what(), e.code());
    } catch (const fs::filesystem_error& e) {
      return failed(e.what(), ErrorCode::kIo);
    }
  }

  StageResult run_stage_process(const ExperimentStage& stage) {
    StageResult result{stage.name};
    const Clock::time_point start = Clock::now();
    const PlannedStage planned =
        plan_stage(with_context("stage '" + stage.name + "'",
                                [&] { return stage.command->stage.plan(stage.config); }),
                   stage.dir);
    if (planned.state == OutputState::kUpToDate) {
      result.outcome = Outcome::kSkipped;
      result.seconds = seconds_since(start);
      return result;
    }
    make_way(stage, planned);
    log_info(concat(heading_, ": ", stage.command->name, " on ", stage.ranks, " rank",
                    stage.ranks == 1 ? "" : "s"));
    const fs::path log = stage.dir.string() + ".log";
    const fs::path config = stage.dir.string() + ".yaml";
    // It stays, so that the stage can be started by hand as it was here.
    write_file_atomically(config, node_to_yaml(stage.config));
    // The log goes on from an earlier start of the stage.
    const std::uint64_t log_start = fs::exists(log) ? fs::file_size(log) : 0;
    const StageStart start_with = local_start(stage, experiment_.settings, config);
    Child child(start_with.arguments, start_with.environment, log);
    const bool stopped = watch(child, {.heading = heading_,
                                       .is_one_process = stage.ranks == 1,
                                       .saves_on_signal = planned.plan.saves_on_signal,
                                       .timeout_s = experiment_.settings.timeout_s,
                                       .log = log,
                                       .log_start = log_start});
    result.seconds = seconds_since(start);
    // mpirun's own code says little: what happened stands on the disk.
    const auto finished = read_manifest(stage.dir);
    if (finished && finished->identity == planned.manifest.identity) {
      result.outcome = stopped ? Outcome::kStopped : Outcome::kDone;
      return result;
    }
    result.outcome = stopped ? Outcome::kStopped : Outcome::kFailed;
    explain(stage, child, stopped, planned.plan.resumable, log, log_start);
    return result;
  }

  /// Where the stage is to write: what must not be overwritten is refused, what is to be replaced
  /// goes.
  void make_way(const ExperimentStage& stage, const PlannedStage& planned) const {
    const std::string dir = stage.dir.string();
    GM_CHECK(planned.state != OutputState::kForeign, kInvalidArgument, "stage '", stage.name,
             "': '", dir, "' is there, but has no manifest.json: remove it");
    GM_CHECK(planned.state != OutputState::kDamaged || experiment_.settings.rerun, kCorrupt,
             "stage '", stage.name, "': '", dir, "' is finished, but damaged: ", planned.change,
             ". Remove it to have it made again, or --set run.rerun=true to have such directories "
             "replaced");
    GM_CHECK(planned.state != OutputState::kChanged || experiment_.settings.rerun, kInvalidArgument,
             "stage '", stage.name, "': '", dir, "' was made from other settings or inputs:\n",
             planned.change,
             "remove it to make it again, choose another --out, or --set run.rerun=true to have "
             "such directories replaced");
    if (planned.state == OutputState::kChanged || planned.state == OutputState::kDamaged) {
      log_info(heading_ +
               (planned.state == OutputState::kChanged ? ": settings or inputs have changed"
                                                       : ": it is damaged") +
               ", running it again\n" + planned.change);
      discard_unfinished(stage.dir);
      fs::remove_all(stage.dir);
    } else if (experiment_.settings.rerun && planned.begun &&
               *planned.begun != planned.manifest.identity) {
      log_info(heading_ + ": settings or inputs have changed, what is unfinished is dropped");
      discard_unfinished(stage.dir);
    }
  }

  void explain(const ExperimentStage& stage, const Child& child, bool stopped, bool resumable,
               const fs::path& log, std::uint64_t log_start) {
    if (stopped) {
      log_info(concat("stage '", stage.name, "' was stopped",
                      resumable ? "; the same command goes on from its last checkpoint"
                                : "; the same command starts it again"));
      return;
    }
    std::string text = concat("stage '", stage.name, "' failed (", child.how_it_ended(),
                              "). The end of ", log.string(), ":\n");
    for (const std::string& line : tail_of(log, 15, log_start)) {
      text += "  | " + line + "\n";
    }
    // "Goes on" must not be promised where there is nothing to go on from.
    text += resumable && fs::exists(stage.dir.string() + ".tmp")
                ? "Put right what it names, then the same command goes on from its last checkpoint."
                : "Put right what it names, then the same command goes on with this stage.";
    log_error(text);
    const int code = child.exit_code();
    static constexpr int kKnown[] = {2, 3, 4, 5, 6, 70};
    // mpirun and the kernel end processes with codes of their own, which mean nothing here.
    const bool known = std::find(std::begin(kKnown), std::end(kKnown), code) != std::end(kKnown);
    failure_code_ = known ? code : exit_code(ErrorCode::kDistributed);
  }

  void summarise() const {
    static constexpr const char* kNames[] = {"done", "skipped, up to date", "FAILED",
                                             "not run: it needs a stage that failed", "stopped"};
    std::size_t width = 5;
    for (const StageResult& result : results_) {
      width = std::max(width, result.name.size());
    }
    double total = 0.0;
    std::string text;
    for (const StageResult& result : results_) {
      char line[512];
      std::snprintf(line, sizeof line, "  %-*s %8.1f s  %s\n", static_cast<int>(width),
                    result.name.c_str(), result.seconds, kNames[static_cast<int>(result.outcome)]);
      text += line;
      total += result.seconds;
    }
    std::printf("%s%-*s %10.1f s in all; %zu of %zu stages finished\n", text.c_str(),
                static_cast<int>(width), "", total,
                static_cast<std::size_t>(std::count_if(results_.begin(), results_.end(),
                                                       [](const StageResult& r) {
                                                         return r.outcome == Outcome::kDone ||
                                                                r.outcome == Outcome::kSkipped;
                                                       })),
                experiment_.stages.size());
    // What a person ran it for stands last, where the terminal is.
    for (const StageResult& result : results_) {
      const fs::path dir = experiment_.out / result.name;
      if (result.outcome != Outcome::kFailed && fs::exists(dir / "report.txt")) {
        std::printf("\n%s\n%s\n", read_file(dir / "report.txt").c_str(),
                    fs::absolute(dir / "report.html").lexically_normal().c_str());
      }
    }
    std::fflush(stdout);
  }

  const Experiment& experiment_;
  std::string heading_;
  std::vector<StageResult> results_;
  int failure_code_ = exit_code(ErrorCode::kInternal);
};

}  // namespace

int run_stages(const Experiment& experiment) { return Runner(experiment).run(); }

}  // namespace growmerge::launch
