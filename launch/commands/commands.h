// One function per command, each in a source of its own. The table in commands.cpp lists them.
#pragma once

#include "launch/command.h"

namespace growmerge::launch {

[[nodiscard]] Command tokenizer_command();
[[nodiscard]] Command tokenize_command();
[[nodiscard]] Command artificial_command();
[[nodiscard]] Command upscale_command();
[[nodiscard]] Command certify_command();
[[nodiscard]] Command train_command();
[[nodiscard]] Command stats_command();
[[nodiscard]] Command merge_command();
[[nodiscard]] Command extract_command();
[[nodiscard]] Command eval_command();
[[nodiscard]] Command run_command();
[[nodiscard]] Command report_command();
[[nodiscard]] Command generate_command();
[[nodiscard]] Command inspect_command();

}  // namespace growmerge::launch
