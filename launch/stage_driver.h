// Running one stage: is it there already, NAME.tmp, the work, manifest.json, rename.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/store/manifest.h"
#include "launch/command.h"

namespace growmerge::launch {

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
