#include "launch/stage_plan.h"

#include <sstream>

#include "core/base/error.h"
#include "core/base/files.h"
#include "launch/stage_identity.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

// Hidden: no file of the output, and gone when it is finished.
constexpr const char* kBegunName = ".begun";

std::optional<std::string> identity_begun(const fs::path& out) {
  const fs::path mark = partial_dir(out) / kBegunName;
  return fs::exists(mark) ? std::optional(read_file(mark)) : std::nullopt;
}

void look_at_output(PlannedStage& stage, const fs::path& out) {
  // The manifest comes first: NAME.tmp beside a finished NAME is of another attempt.
  if (const auto finished = read_manifest(out)) {
    stage.change = describe_change(*finished, stage.manifest);
    stage.state = stage.change.empty() ? OutputState::kUpToDate : OutputState::kChanged;
    if (stage.state == OutputState::kUpToDate) {
      stage.change = file_fault(out, *finished);
      stage.state = stage.change.empty() ? OutputState::kUpToDate : OutputState::kDamaged;
    }
  } else if (fs::exists(out) && !(fs::is_directory(out) && fs::is_empty(out))) {
    stage.state = OutputState::kForeign;
  } else if (fs::exists(partial_dir(out))) {
    stage.state = OutputState::kUnfinished;
    stage.begun = identity_begun(out);
  }
}

/// One line of the state and one of each input's identity: what costs reading them is found out
/// once, and what another machine's file system may show a moment later decides nothing.
void share_from_root(PlannedStage& stage, Communicator& comm) {
  std::string text = std::to_string(static_cast<int>(stage.state)) + "\n";
  for (const InputRecord& input : stage.manifest.inputs) {
    text += input.identity + "\n";
  }
  comm.broadcast_bytes(text, 0);
  if (!comm.is_root()) {
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);
    stage.state = static_cast<OutputState>(std::stoi(line));
    std::vector<std::string> identities;
    while (std::getline(lines, line)) {
      identities.push_back(line);
    }
    stage.manifest = manifest_of(stage.plan, identities);
  }
}

}  // namespace

PlannedStage plan_stage(StagePlan plan, const fs::path& out) {
  PlannedStage stage;
  stage.inputs = InputWatch(plan);  // before they are hashed
  stage.manifest = planned_manifest(plan);
  stage.plan = std::move(plan);
  if (!out.empty()) {
    look_at_output(stage, out);
  }
  return stage;
}

PlannedStage plan_stage(const Command& command, const CommandLine& line, const YamlNode& config,
                        Communicator& comm) {
  PlannedStage stage;
  run_agreed(comm, [&] {
    StagePlan plan = command.stage.plan(config);
    GM_CHECK(!line.out.empty(), kInvalidArgument, "'", command.name,
             "' writes a directory: give --out DIR");
    GM_CHECK(plan.max_ranks == 0 || comm.size() <= plan.max_ranks, kInvalidArgument, "'",
             command.name, "' works on ", plan.max_ranks, " rank(s), got ", comm.size());
    if (!comm.is_root()) {
      stage.plan = std::move(plan);
    } else if (plan.hashes_while_working && !fs::exists(line.out)) {
      // With nothing to compare with, the inputs need not be read twice.
      stage.manifest = manifest_to_come(plan);
      stage.inputs = InputWatch(plan);
      stage.plan = std::move(plan);
      look_at_output(stage, line.out);
    } else {
      stage = plan_stage(std::move(plan), line.out);
    }
  });
  share_from_root(stage, comm);
  return stage;
}

fs::path partial_dir(const fs::path& out) {
  return out.has_filename() ? out.string() + ".tmp" : out.parent_path().string() + ".tmp";
}

void mark_begun(const fs::path& out, const Manifest& manifest) {
  if (!manifest.identity.empty() && !identity_begun(out)) {
    write_file_atomically(partial_dir(out) / kBegunName, manifest.identity);
  }
}

void finish_begun(const fs::path& out) { fs::remove(partial_dir(out) / kBegunName); }

}  // namespace growmerge::launch
