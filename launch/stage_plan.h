// What is known before a stage starts, its output looked at: is there anything to do?
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "launch/command.h"
#include "launch/input_watch.h"

namespace growmerge::launch {

/// What lies where a stage is to write, held against what it would write.
enum class OutputState {
  kNew,         // nothing, or an empty directory
  kForeign,     // a directory that no stage has finished
  kUnfinished,  // NAME.tmp alone
  kUpToDate,    // finished, with the identity that it would have now: nothing to do
  kChanged,     // finished, from other settings or inputs
  kDamaged,     // finished, but its files are not what its manifest says
};

struct PlannedStage {
  StagePlan plan;
  /// As far as its identity goes, which is empty where it comes with the work
  /// (StagePlan::hashes_while_working).
  Manifest manifest;
  InputWatch inputs;  // rank 0 alone
  OutputState state = OutputState::kNew;
  std::string change;                // of kChanged: what differs, a line each; of kDamaged: what
  std::optional<std::string> begun;  // of kUnfinished: what was begun there, where that is known
};

/// For one process. An empty `out` is kNew. Errors: kNotFound naming the input that is not there.
[[nodiscard]] PlannedStage plan_stage(StagePlan plan, const std::filesystem::path& out);

/// The same for all ranks that are to run the command into line.out: rank 0 looks, and all get its
/// state and its inputs' identities, so that they cannot come to different ends; `change` and
/// `begun` are known on rank 0 alone. Collective. Errors: those of the command's plan;
/// kInvalidArgument without --out, or on more ranks than it works on; kNotFound as above.
[[nodiscard]] PlannedStage plan_stage(const Command& command, const CommandLine& line,
                                      const YamlNode& config, Communicator& comm);

/// NAME.tmp of NAME.
[[nodiscard]] std::filesystem::path partial_dir(const std::filesystem::path& out);

/// Leaves in OUT.tmp what is begun there, for PlannedStage::begun, unless it says so already: a
/// stage may go on with settings that do not matter to it changed. finish_begun() removes it.
void mark_begun(const std::filesystem::path& out, const Manifest& manifest);
void finish_begun(const std::filesystem::path& out);

}  // namespace growmerge::launch
