#include "launch/dry_run.h"

#include "core/base/error.h"
#include "core/base/format.h"
#include "launch/headroom.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

/// Errors: kNotFound where the input is not there.
std::string reads_text(const StageInput& input) {
  const std::vector<fs::path> files =
      input.list_files ? input.list_files() : std::vector<fs::path>{input.path};
  double bytes = 0.0;
  for (const fs::path& file : files) {
    GM_CHECK(fs::exists(file), kNotFound, "no '", file.string(), "'");
    bytes += static_cast<double>(bytes_of(file));
  }
  return "reads     " + input.role + ": " + input.path + " (" + format_bytes(bytes) + ")\n";
}

std::string state_text(const PlannedStage& stage) {
  switch (stage.state) {
    case OutputState::kNew:
    case OutputState::kForeign:
      return "";
    case OutputState::kUpToDate:
      return "state     up to date: nothing would be done\n";
    case OutputState::kChanged:
      return "state     finished with another identity:\n" + stage.change;
    case OutputState::kDamaged:
      return "state     finished, but damaged: " + stage.change + "\n";
    case OutputState::kUnfinished:
      break;
  }
  const std::string unfinished = "state     unfinished: ";
  // What is unfinished is only worth something to a stage that can take it up.
  if (!stage.plan.resumable) {
    return unfinished + "would start again\n";
  }
  const bool is_other = stage.begun && *stage.begun != stage.manifest.identity;
  return unfinished + (is_other ? "begun with other settings or inputs, goes on "
                                  "only if they change nothing it computes\n"
                                : "would be resumed\n");
}

/// What is free where a directory is, or is to be made, and perhaps some above it.
std::optional<double> free_disk_for(const fs::path& dir) {
  fs::path there = fs::absolute(dir);
  while (!fs::exists(there)) {
    there = there.parent_path();
  }
  return free_disk(there);
}

/// The run would refuse these, too.
void check_output(const PlannedStage& stage, const StageEstimate& estimate,
                  const std::string& out) {
  GM_CHECK(stage.state != OutputState::kForeign, kInvalidArgument, "output '", out,
           "' is there already, and no stage has finished it: remove it, or choose another --out");
  const std::optional<double> free = free_disk_for(out);
  if (!estimate.output_bytes || !free || stage.state == OutputState::kUpToDate) {
    return;
  }
  const double there = *free + static_cast<double>(bytes_of(partial_dir(out)));  // an earlier start
  GM_CHECK(*estimate.output_bytes <= there, kIo, "output '", out, "' needs ",
           format_bytes(*estimate.output_bytes), ", the disk has ", format_bytes(there),
           " free: make room, or choose another --out");
}

std::string free_disk_text(const std::string& out) {
  const std::optional<double> free = free_disk_for(out);
  return free ? "disk      " + format_bytes(*free) + " free where the output goes\n" : "";
}

}  // namespace

std::uint64_t bytes_of(const fs::path& path) {
  if (!fs::exists(path)) {
    return 0;
  }
  if (!fs::is_directory(path)) {
    return fs::file_size(path);
  }
  std::uint64_t sum = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) {
      sum += entry.file_size();
    }
  }
  return sum;
}

std::string dry_run_text(const PlannedStage& stage, const Command& command, const YamlNode& config,
                         const std::string& out, int ranks) {
  std::string text = "stage     " + stage.plan.stage + "\n";
  for (const StageInput& input : stage.plan.inputs) {
    text += reads_text(input);
  }
  text += "writes    " + (out.empty() ? std::string("(give --out DIR)") : out) + "\n";
  const StageEstimate estimate = command.stage.estimate(config, ranks);
  text += estimate.text;
  if (!out.empty()) {
    check_output(stage, estimate, out);
  }
  text += "identity  " + stage.manifest.identity + "\n";
  return out.empty() ? text : text + state_text(stage) + free_disk_text(out);
}

std::string waiting_text(const Command& command, const YamlNode& config, const std::string& out) {
  const StagePlan plan = command.stage.plan(config);
  std::string text = "stage     " + plan.stage + "\n";
  for (const StageInput& input : plan.inputs) {
    try {
      text += reads_text(input);
    } catch (const Error& e) {
      // Another stage's output is not there yet; anything else is a mistake.
      if (e.code() != ErrorCode::kNotFound) {
        throw;
      }
      text += "reads     " + input.role + ": " + input.path + " (made by another stage)\n";
    }
  }
  return text + "writes    " + out + "\ncosts     unknown yet: it waits for its inputs\n";
}

}  // namespace growmerge::launch
