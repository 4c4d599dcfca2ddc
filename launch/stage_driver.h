// Running one stage: is it there already, NAME.tmp, the work, manifest.json, rename.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/store/manifest.h"
#include "launch/command.h"

namespace growmerge::launch {

/// The manifest that the planned stage would have, as far as its identity goes: stage, config (with
/// each input's path replaced by its role, so that moving an experiment changes nothing), seed and
/// inputs. Errors: kNotFound naming the input that is not there.
[[nodiscard]] Manifest planned_manifest(const StagePlan& plan);

/// What differs between a finished stage and what it would be now, a line each; empty when nothing.
[[nodiscard]] std::string describe_change(const Manifest& finished, const Manifest& planned);

/// Identity of the stage that was begun in OUT.tmp; nothing where none was.
[[nodiscard]] std::optional<std::string> unfinished_identity(const std::filesystem::path& out);

/// Runs the command as a stage into `line.out`. A finished directory of the same identity is left
/// as it is (exit code 0). Collective. Errors: those of the stage; kInvalidArgument when the
/// directory exists with another identity, naming what changed.
int run_stage(const Command& command, const CommandLine& line, const YamlNode& config,
              Communicator& comm);

/// The text that --dry-run prints.
[[nodiscard]] std::string dry_run_text(const Command& command, const YamlNode& config,
                                       const std::string& out, int ranks);

/// The same of a stage of an experiment whose inputs other stages are still to make.
[[nodiscard]] std::string waiting_text(const Command& command, const YamlNode& config,
                                       const std::string& out);

/// Bytes of a file, or of all files below a directory.
[[nodiscard]] std::uint64_t bytes_of(const std::filesystem::path& path);

}  // namespace growmerge::launch
