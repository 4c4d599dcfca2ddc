// Bringing the models of a merge to one vocabulary.
//
// The row of a token in a model: its own, if it has the token (and no rule forces another). Else
// what a rule of the recipe says; else the row of the only model that has the token; else the
// base's, if it has it; else the mean of those that have it: so far as mergekit. A token that no
// model has gets, in each model, the mean of the rows of the pieces that the model's own tokenizer
// cuts it into, and zeros where there are none (mergekit: zeros). Rows behind the last token, up to
// a multiple of pad_to_multiple_of, are the mean of all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "merging/model_reference.h"
#include "merging/vocabulary/row_map.h"
#include "merging/vocabulary/tokenizer_recipe.h"

namespace growmerge::merging {

struct VocabularyModel {
  ModelReference reference;
  std::int64_t rows = 0;  // of its embedding
};

struct VocabularyPlan {
  std::int64_t num_rows = 0;    // of the output
  std::vector<RowMap> maps;     // of each model
  std::string tokenizer_json;   // of the output
  bool is_a_models_own = true;  // the text of companions_from/tokenizer.json, unchanged
  std::filesystem::path companions_from;
  std::map<std::int64_t, std::int64_t> new_ids;  // of the base's tokens, where they are there
  std::string report;   // where each row came from: a line a token (docs/methods/merging.md)
  std::string summary;  // one line
  std::vector<std::string> warnings;
};

/// `base` is a place in `models`. Models without a tokenizer.json are taken to have the base's.
/// Errors: kNotFound where the base has none; kInvalidArgument with file:line for a rule that names
/// no model of the merge, or a token or row that the model does not have; kUnsupported as
/// output_tokenizer.h.
[[nodiscard]] VocabularyPlan plan_vocabulary(const TokenizerRecipe& recipe,
                                             std::span<const VocabularyModel> models,
                                             std::size_t base);

}  // namespace growmerge::merging
