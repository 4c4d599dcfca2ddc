// Bits per byte of running text: its settings and its documents. The scores: eval/bits_per_byte.h.
#pragma once

#include <cstdint>
#include <string>

#include "eval/task.h"
#include "eval/task_config.h"

namespace growmerge::eval {

/// The documents that `loader` reads, cut as the task says. Errors: the loader's.
[[nodiscard]] Task load_texts(const TaskConfig& config, const TextLoader& loader);
/// Errors: kInvalidArgument (no prefix).
void check_texts(const TaskConfig& config);
/// Prefix, windows and cuts in words.
[[nodiscard]] std::string plan_texts(const TaskConfig& config, const ScoringRules& rules,
                                     std::int64_t context, const std::string& dtype);

}  // namespace growmerge::eval
