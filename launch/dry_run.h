// What --dry-run prints: what would be read, written, needed and spent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "launch/stage_plan.h"

namespace growmerge::launch {

/// Of a stage whose inputs are there. Errors: those of the command's estimate.
[[nodiscard]] std::string dry_run_text(const PlannedStage& stage, const Command& command,
                                       const YamlNode& config, const std::string& out, int ranks);

/// Of a stage of an experiment whose inputs other stages are still to make.
[[nodiscard]] std::string waiting_text(const Command& command, const YamlNode& config,
                                       const std::string& out);

/// Bytes of a file, or of all files below a directory; 0 where there is none.
[[nodiscard]] std::uint64_t bytes_of(const std::filesystem::path& path);

}  // namespace growmerge::launch
