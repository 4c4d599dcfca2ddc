#include "launch/stage_driver.h"

#include <sstream>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/format.h"
#include "core/base/log.h"
#include "core/store/stage_output.h"
#include "launch/stage_identity.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBegunName = ".begun";

/// What a finished stage adds to the record beside its own figures.
void print_up_to_date(const std::string& out) {
  log_info("'" + out + "' is up to date, nothing to do");
}

fs::path partial_dir(const fs::path& out) {
  return out.has_filename() ? out.string() + ".tmp" : out.parent_path().string() + ".tmp";
}

/// A line of --dry-run. Errors: kNotFound where the input is not there.
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

/// What rank 0 found out reaches all ranks, so that they cannot come to different ends: whether
/// there is nothing to do, and the inputs' identities (which cost reading them).
void share_from_root(const StagePlan& plan, bool& up_to_date, Manifest& manifest,
                     Communicator& comm) {
  std::string text = up_to_date ? "done\n" : "new\n";
  for (const InputRecord& input : manifest.inputs) {
    text += input.identity + "\n";
  }
  comm.broadcast_bytes(text, 0);
  if (!comm.is_root()) {
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);
    up_to_date = line == "done";
    std::vector<std::string> identities;
    while (std::getline(lines, line)) {
      identities.push_back(line);
    }
    manifest = manifest_of(plan, identities);
  }
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

std::string dry_run_text(const Command& command, const YamlNode& config, const std::string& out,
                         int ranks) {
  const StagePlan plan = command.stage.plan(config);
  const Manifest manifest = planned_manifest(plan);
  std::string text = "stage     " + plan.stage + "\n";
  for (const StageInput& input : plan.inputs) {
    text += reads_text(input);
  }
  text += "writes    " + (out.empty() ? std::string("(give --out DIR)") : out) + "\n";
  text += command.stage.estimate(config, ranks);
  text += "identity  " + manifest.identity + "\n";
  if (!out.empty()) {
    if (const auto finished = read_manifest(out)) {
      const std::string change = describe_change(*finished, manifest);
      text += change.empty() ? "state     up to date: nothing would be done\n"
                             : "state     finished with another identity:\n" + change;
    } else if (fs::exists(out + ".tmp")) {
      const auto begun = unfinished_identity(out);
      text +=
          std::string("state     unfinished: ") +
          (!plan.resumable                        ? "would start again\n"
           : begun && *begun != manifest.identity ? "begun with other settings or inputs, goes on "
                                                    "only if they change nothing it computes\n"
                                                  : "would be resumed\n");
    }
    const fs::path parent = fs::absolute(out).parent_path();
    fs::path there = parent;
    while (!fs::exists(there)) {
      there = there.parent_path();
    }
    text += "disk      " + format_bytes(static_cast<double>(fs::space(there).available)) +
            " free where the output goes\n";
  }
  return text;
}

std::string waiting_text(const Command& command, const YamlNode& config, const std::string& out) {
  const StagePlan plan = command.stage.plan(config);
  std::string text = "stage     " + plan.stage + "\n";
  for (const StageInput& input : plan.inputs) {
    try {
      text += reads_text(input);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::kNotFound) {
        throw;
      }
      text += "reads     " + input.role + ": " + input.path + " (made by another stage)\n";
    }
  }
  return text + "writes    " + out + "\ncosts     unknown yet: it waits for its inputs\n";
}

std::optional<std::string> unfinished_identity(const fs::path& out) {
  const fs::path mark = partial_dir(out) / kBegunName;
  return fs::exists(mark) ? std::optional(read_file(mark)) : std::nullopt;
}

int run_stage(const Command& command, const CommandLine& line, const YamlNode& config,
              Communicator& comm) {
  StagePlan plan;
  Manifest manifest;
  bool up_to_date = false;
  std::optional<StageOutput> output;
  const fs::path out = line.out;
  run_agreed(comm, [&] {
    plan = command.stage.plan(config);
    GM_CHECK(!line.out.empty(), kInvalidArgument, "'", command.name,
             "' writes a directory: give --out DIR");
    GM_CHECK(plan.max_ranks == 0 || comm.size() <= plan.max_ranks, kInvalidArgument, "'",
             command.name, "' works on ", plan.max_ranks, " rank(s), got ", comm.size());
    if (!comm.is_root()) {
      return;
    }
    if (plan.hashes_while_working && !fs::exists(out)) {
      manifest = manifest_to_come(plan);
      return;
    }
    manifest = planned_manifest(plan);
    if (const auto finished = read_manifest(out)) {
      const std::string change = describe_change(*finished, manifest);
      GM_CHECK(change.empty(), kInvalidArgument, "output '", out.string(),
               "' is there already, from other inputs or settings:\n", change,
               "remove it, or choose another --out");
      up_to_date = true;
    }
  });
  share_from_root(plan, up_to_date, manifest, comm);
  if (up_to_date) {
    print_up_to_date(line.out);
    return 0;
  }
  run_agreed(comm, [&] {
    if (comm.is_root()) {
      output.emplace(out, plan.resumable);
      // What was begun here first, for unfinished_identity(); a stage may go on with settings that
      // do not matter to it changed.
      if (!manifest.identity.empty() && !unfinished_identity(out)) {
        write_file_atomically(output->dir() / kBegunName, manifest.identity);
      }
      write_file_atomically(output->dir() / "config.yaml", plan.config);
    }
  });
  manifest.world_size = comm.size();
  StageRun run{
      .comm = comm, .dir = partial_dir(out), .manifest = manifest, .show_progress = comm.is_root()};
  command.stage.work(config, run);
  comm.barrier();
  run_agreed(comm, [&] {
    if (comm.is_root()) {
      if (manifest.identity.empty()) {
        run.manifest.inputs = planned_manifest(plan).inputs;
      }
      for (FileRecord& file : run.files) {
        output->record_file(std::move(file));
      }
      fs::remove(output->dir() / kBegunName);
      output->finish(run.manifest);
    }
  });
  log_info("finished '" + line.out + "'");
  return 0;
}

}  // namespace growmerge::launch
