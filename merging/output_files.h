// What stands beside the weights of a merge: config, tokenizer and other companions, chat template,
// model card.
#pragma once

#include <filesystem>
#include <string>

#include "merging/merge.h"

namespace growmerge::merging {

/// Writes config.json, companions, README.md with the recipe, mergekit_config.yml (the recipe
/// alone, to be run again), and where the recipe has a tokenizer section tokenizer.json and
/// vocabulary.tsv, the origin of each row. Errors: kIo.
void write_other_files(const MergePlan& plan, const std::filesystem::path& dir);

/// README.md: what was merged how, for people and the hub.
[[nodiscard]] std::string model_card(const MergePlan& plan, const std::string& name);

}  // namespace growmerge::merging
