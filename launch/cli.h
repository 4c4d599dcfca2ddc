// The command line: growmerge COMMAND [PATH...] [--config FILE] [--out DIR] [--set key=value]...
// [--dry-run] [--print-config] [--help]. The only place that sees Boost.Program_options.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "launch/command.h"

namespace growmerge::launch {

struct ParsedLine {
  CommandLine line;
  bool help = false;
  bool version = false;
  bool config_docs = false;  // hidden: print docs/config.md
};

/// Errors: kInvalidArgument naming the word that was not understood, and the nearest option.
[[nodiscard]] ParsedLine parse_command_line(std::span<const std::string> words);

[[nodiscard]] std::string help_text();
[[nodiscard]] std::string command_help_text(const Command& command);
/// docs/config.md: every key of every command's config.
[[nodiscard]] std::string config_docs_text();

/// The whole program. Returns the exit code.
int run_command_line(int argc, char** argv);

}  // namespace growmerge::launch
