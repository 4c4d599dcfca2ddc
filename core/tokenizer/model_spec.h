// The parts of tokenizer.json that hold tokens: the model, and the tokens that were added to it.
#pragma once

#include <variant>
#include <vector>

#include "core/tokenizer/json_fields.h"
#include "core/tokenizer/spec.h"

namespace growmerge::tok {

/// Errors: kCorrupt as in json_fields.h; kUnsupported naming a model or setting that is not
/// understood.
[[nodiscard]] std::variant<BpeSpec, UnigramSpec> parse_model(const Json& root);
/// Errors: kCorrupt where an added token does not fit the model's vocabulary; kUnsupported where
/// the `tokenizers` package would give it another id.
[[nodiscard]] std::vector<AddedTokenSpec> parse_added_tokens(
    const Json& root, const std::variant<BpeSpec, UnigramSpec>& model);

}  // namespace growmerge::tok
