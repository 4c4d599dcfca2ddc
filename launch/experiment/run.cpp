#include "launch/experiment/run.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <set>
#include <thread>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/store/stage_output.h"
#include "distributed/signals.h"
#include "launch/experiment/child.h"
#include "launch/experiment/experiment.h"
#include "launch/experiment/loopback.h"
#include "launch/experiment/templates.h"
#include "launch/process.h"
#include "launch/stage_driver.h"
#include "launch/stage_identity.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// A handler may only set a flag; there is one set of handlers in a process.
volatile std::sig_atomic_t signals_received = 0;
extern "C" void count_signal(int) { signals_received = signals_received + 1; }

/// Counts SIGINT and SIGTERM while it lives.
class SignalCounter {
 public:
  SignalCounter() {
    signals_received = 0;
    struct sigaction action {};
    action.sa_handler = &count_signal;
    sigaction(SIGINT, &action, &old_int_);
    sigaction(SIGTERM, &action, &old_term_);
    sigaction(SIGUSR1, &action, &old_usr1_);
  }
  ~SignalCounter() {
    sigaction(SIGINT, &old_int_, nullptr);
    sigaction(SIGTERM, &old_term_, nullptr);
    sigaction(SIGUSR1, &old_usr1_, nullptr);
  }
  SignalCounter(const SignalCounter&) = delete;
  SignalCounter& operator=(const SignalCounter&) = delete;

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
  struct sigaction old_usr1_ {};
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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
    const StagePlan plan = with_context("stage '" + stage.name + "'",
                                        [&] { return stage.command->stage.plan(stage.config); });
    const Manifest planned = planned_manifest(plan);
    if (is_up_to_date(stage, planned)) {
      result.outcome = Outcome::kSkipped;
      result.seconds = seconds_since(start);
      return result;
    }
    log_info(concat(heading_, ": ", stage.command->name, " on ", stage.ranks, " rank",
                    stage.ranks == 1 ? "" : "s"));
    const fs::path log = stage.dir.string() + ".log";
    const fs::path config = stage.dir.string() + ".yaml";
    write_file_atomically(config, node_to_yaml(stage.config));
    const std::uint64_t log_start = fs::exists(log) ? fs::file_size(log) : 0;
    Child child(arguments(stage, config), environment(stage), log);
    const bool stopped = watch(child, stage, plan.saves_on_signal, log, log_start);
    result.seconds = seconds_since(start);
    // mpirun's own code says little: what happened stands on the disk.
    const auto finished = read_manifest(stage.dir);
    if (finished && finished->identity == planned.identity) {
      result.outcome = stopped ? Outcome::kStopped : Outcome::kDone;
      return result;
    }
    result.outcome = stopped ? Outcome::kStopped : Outcome::kFailed;
    explain(stage, child, stopped, plan.resumable, log, log_start);
    return result;
  }

  bool is_up_to_date(const ExperimentStage& stage, const Manifest& planned) const {
    const auto finished = read_manifest(stage.dir);
    if (!finished) {
      GM_CHECK(!fs::exists(stage.dir), kInvalidArgument, "stage '", stage.name, "': '",
               stage.dir.string(), "' is there, but has no manifest.json: remove it");
      const auto begun = unfinished_identity(stage.dir);
      if (experiment_.settings.rerun && begun && *begun != planned.identity) {
        log_info(heading_ + ": settings or inputs have changed, what is unfinished is dropped");
        discard_unfinished(stage.dir);
      }
      return false;
    }
    const std::string change = describe_change(*finished, planned);
    if (change.empty()) {
      return true;
    }
    GM_CHECK(experiment_.settings.rerun, kInvalidArgument, "stage '", stage.name, "': '",
             stage.dir.string(), "' was made from other settings or inputs:\n", change,
             "remove it to make it again, choose another --out, or --set run.rerun=true to have "
             "such directories replaced");
    log_info(heading_ + ": settings or inputs have changed, running it again\n" + change);
    discard_unfinished(stage.dir);
    fs::remove_all(stage.dir);
    return false;
  }

  std::vector<std::string> arguments(const ExperimentStage& stage, const fs::path& config) const {
    std::vector<std::string> out;
    if (stage.ranks > 1) {
      // When a rank ends badly, mpirun sends SIGTERM to the others and waits so long before
      // SIGKILL. We ask for checkpoints with SIGUSR1, which has no such clock, so a few seconds are
      // enough.
      out = {experiment_.settings.mpirun,
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
        out.insert(out.end(), {"--mca", "mpi_yield_when_idle", "1"});
      }
      out.insert(out.end(), experiment_.settings.mpirun_options.begin(),
                 experiment_.settings.mpirun_options.end());
    }
    out.insert(out.end(), {executable_path().string(), stage.command->name, "--config",
                           config.string(), "--out", stage.dir.string()});
    return out;
  }

  static std::map<std::string, std::string> environment(const ExperimentStage& stage) {
    std::map<std::string, std::string> out;
    if (stage.threads > 0) {
      out["OMP_NUM_THREADS"] = std::to_string(stage.threads);
    }
    return out;
  }

  /// Waits, shows the latest line, passes signals on. True when we were asked to stop.
  bool watch(Child& child, const ExperimentStage& stage, bool saves_on_signal, const fs::path& log,
             std::uint64_t log_start) {
    const Clock::time_point start = Clock::now();
    Clock::time_point shown = start;
    std::optional<Clock::time_point> asked;
    int seen = 0;
    int passed_on = 0;
    std::string last;
    while (!child.poll()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const double limit = experiment_.settings.timeout_s;
      if (limit > 0.0 && !asked && seconds_since(start) > limit) {
        log_error(concat(heading_, ": took longer than run.timeout_s = ", limit, " s, stopping"));
        child.signal(saves_on_signal ? SIGUSR1 : SIGTERM);
        asked = Clock::now();
      }
      const bool signalled = signals_received > seen;
      seen = signals_received;
      // Whoever signals a process and then its group asks once.
      if (signalled &&
          (passed_on == 0 || seconds_since(*asked) * 1000.0 >= distributed::kSameSignalMs)) {
        ++passed_on;
        // A stage that can save does so on SIGUSR1, and mpirun passes it on without a clock.
        // The second time a lone process, which takes SIGTERM as the same wish, is killed; mpirun
        // does that itself to its ranks.
        child.signal(!saves_on_signal  ? SIGTERM
                     : passed_on == 1  ? SIGUSR1
                     : stage.ranks > 1 ? SIGTERM
                                       : SIGKILL);
        asked = Clock::now();
        log_info(heading_ + (passed_on == 1 && saves_on_signal
                                 ? ": stopping; it writes a checkpoint first (again to end at once)"
                                 : ": stopping"));
      }
      if (asked && seconds_since(*asked) > 150.0) {
        child.signal(SIGKILL);
      }
      if (seconds_since(shown) > (is_terminal() ? 0.5 : 10.0)) {
        shown = Clock::now();
        show(log, log_start, last);
      }
    }
    if (is_terminal()) {
      std::fprintf(stderr, "\r\033[K");
    }
    return passed_on > 0;
  }

  void show(const fs::path& log, std::uint64_t log_start, std::string& last) const {
    const std::vector<std::string> tail = tail_of(log, 1, log_start);
    if (tail.empty() || (tail.back() == last && !is_terminal())) {
      return;
    }
    last = tail.back();
    if (is_terminal()) {
      std::fprintf(stderr, "\r\033[K%s  %.*s", heading_.c_str(), 100, last.c_str());
      std::fflush(stderr);
    } else {
      std::fprintf(stderr, "%s  %s\n", heading_.c_str(), last.c_str());
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
    text += resumable && fs::exists(stage.dir.string() + ".tmp")
                ? "Put right what it names, then the same command goes on from its last checkpoint."
                : "Put right what it names, then the same command goes on with this stage.";
    log_error(text);
    const int code = child.exit_code();
    static constexpr int kKnown[] = {2, 3, 4, 5, 6, 70};
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

/// What would be done with each stage.
int dry_run(const Experiment& experiment) {
  std::printf("experiment %s: %zu stages into %s\n", experiment.name.c_str(),
              experiment.stages.size(), experiment.out.c_str());
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
    const std::string text =
        dry_run_text(*stage.command, stage.config, stage.dir.string(), stage.ranks);
    if (text.find("up to date") == std::string::npos) {
      pending.insert(stage.name);
    }
    std::fputs(text.c_str(), stdout);
  }
  return 0;
}

}  // namespace

int run_experiment(const CommandLine& line) {
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
  return Runner(experiment).run();
}

}  // namespace growmerge::launch
