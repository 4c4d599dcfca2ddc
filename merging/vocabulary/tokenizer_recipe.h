// What a recipe says about the vocabulary of its result: mergekit's `tokenizer_source: SOURCE` or
//
//   tokenizer:
//     source: union                 # or base, or a model's directory; union where it is not given
//     tokens:                       # rows that are not left to the rule (vocabulary_plan.h)
//       <|im_start|>: {source: runs/chat, force: true}
//       <pad>: {source: {kind: zero}}
//       <new>: {source: {kind: model_token, model: runs/chat, token: <|im_start|>}}
//     pad_to_multiple_of: 64
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/yaml.h"
#include "merging/model_reference.h"

namespace growmerge::merging {

/// Where the row of one token comes from in models that do not have it, or in all (`force`).
struct TokenRule {
  enum class Kind { kModel, kModelToken, kZero };
  Kind kind = Kind::kModel;
  ModelReference model;              // kModel, kModelToken
  std::optional<std::string> token;  // kModelToken: that model's row of this token ...
  std::optional<std::int64_t> row;   // ... or this row
  bool force = false;                // also in models that have the token
  std::string where;                 // file:line
};

struct TokenizerRecipe {
  enum class Source { kUnion, kBase, kModel };
  Source source = Source::kUnion;
  ModelReference model;  // kModel
  std::vector<std::pair<std::string, TokenRule>> tokens;
  std::int64_t pad_to_multiple_of = 1;
  std::string where;
};

/// Reads both keys of the recipe; nothing where it has neither. Errors: kInvalidArgument with
/// file:line; kUnsupported for a source that is not there.
[[nodiscard]] std::optional<TokenizerRecipe> parse_tokenizer_recipe(const YamlNode& root);

}  // namespace growmerge::merging
