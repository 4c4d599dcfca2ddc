// The config of a merge's result: the leader's, with the layers that the slices stack.
#pragma once

#include "merging/merge.h"

namespace growmerge::merging {

/// Errors: kMismatch naming two models and the first number in which they compute differently, but
/// for what the recipe allows, or makes equal (vocabularies by tokenizer_source, depth by slices);
/// kInvalidArgument with file:line for a layer_range that goes beyond a model; kUnsupported for
/// layers of different kinds in one slice.
[[nodiscard]] ModelConfig output_config(const MergePlan& plan);

/// The tensors of the output, in the order of model_tensors(plan.config).
[[nodiscard]] std::vector<OutputTensor> output_tensors(const MergePlan& plan);

/// Puts the new ids of special tokens into a JSON object's "..._token_id" keys.
[[nodiscard]] std::string with_new_token_ids(const std::string& json_text,
                                             const std::map<std::int64_t, std::int64_t>& new_ids);

}  // namespace growmerge::merging
