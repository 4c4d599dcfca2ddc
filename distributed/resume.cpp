#include "distributed/resume.h"

#include <filesystem>
#include <sstream>

#include "core/base/error.h"
#include "core/base/log.h"

namespace growmerge::distributed {
namespace {

namespace fs = std::filesystem;

/// "then A, now B" of the first lines that differ.
std::string first_difference(const std::string& was, const std::string& is) {
  std::istringstream then(was);
  std::istringstream now(is);
  std::string a;
  std::string b;
  while (true) {
    const bool more_then = static_cast<bool>(std::getline(then, a));
    const bool more_now = static_cast<bool>(std::getline(now, b));
    if (a != b || !more_then || !more_now) {
      return concat("then ", more_then ? a : "nothing", ", now ", more_now ? b : "nothing");
    }
  }
}

void check_same_run(const TrainingState& saved, const TrainingState& mine,
                    const std::string& where) {
  const auto check = [&where](const std::string& was, const std::string& is, const char* what) {
    GM_CHECK(was == is, kMismatch, where, ": was written with another ", what, " (",
             first_difference(was, is), "), so going on would not be the same run; give the ",
             "former one, or remove ", fs::path(where).parent_path().string(),
             " (or take another --out) to start afresh");
  };
  check(saved.stream, mine.stream, "stream of training data");
  check(saved.start, mine.start, "starting model");
  check(saved.config, mine.config, "config");
  GM_CHECK(saved.num_steps == mine.num_steps, kMismatch, where, ": was written for ",
           saved.num_steps, " steps, the budget now gives ", mine.num_steps);
}

/// Every step takes batch_rows rows, so the cursor follows from the step.
void check_cursor(const TrainingState& saved, const TrainJob& job, const std::string& where) {
  GM_CHECK(saved.step > 0 && saved.step <= saved.num_steps, kCorrupt, where, ": is at step ",
           saved.step, " of ", saved.num_steps);
  GM_CHECK(saved.next_row / job.config.batch_rows == saved.step &&
               saved.next_row % job.config.batch_rows == 0,
           kCorrupt, where, ": step ", saved.step, " of ", job.config.batch_rows,
           " rows each goes on with row ", saved.next_row, ", which is none of its own");
}

/// One rank looks and decides; the others follow.
std::string newest_for_all(const TrainJob& job) {
  std::string found;
  run_agreed(job.comm, [&] {
    if (job.comm.is_root()) {
      found = newest_training_checkpoint(job.run.work_dir).value_or(fs::path()).string();
    }
  });
  job.comm.broadcast_bytes(found, 0);
  return found;
}

}  // namespace

TrainingState first_state(const TrainJob& job) {
  TrainingState state;
  state.num_steps = job.plan.steps;
  state.stream = job.source.identity();
  state.config = resumable_config(job.config);
  state.start = job.run.start_identity;
  return state;
}

std::string resume(const TrainJob& job, Training& training, TrainingState& state) {
  std::string found = newest_for_all(job);
  if (found.empty()) {
    return found;
  }
  run_agreed(job.comm, [&] {
    // Every rank reads the state file, so all of them check it against their own arguments.
    const TrainingState saved = read_training_state(found);
    check_same_run(saved, state, found);
    check_cursor(saved, job, found);
    state = saved;
    if (job.comm.is_root()) {
      set_aside_later(job.run.work_dir, saved.step);
    }
  });
  // A finished run may have kept no moments to load.
  if (!is_finished(state)) {
    load_training_checkpoint(found, {job.model, *training.store, training.optimizer, job.comm});
  }
  log_info(concat("resuming from ", found, " at step ", state.step, " of ", job.plan.steps));
  return found;
}

}  // namespace growmerge::distributed
