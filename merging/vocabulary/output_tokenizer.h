// The tokenizer of a merge's result: that of a model, or the union of all.
//
// Union: the base's tokens keep their ids; behind them stand those that only others have, model by
// model, plain tokens first, then added ones. mergekit adds plain ones as added tokens, which text
// reaches only where their spelling is that of the text; here a BPE vocabulary of the same pipeline
// (normalizer, pre-tokenizer) gets them with the merges that make them, others as mergekit does.
// Tokens whose id lies beyond the rows of their model are left out, as in mergekit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace growmerge::merging {

/// A model's tokenizer.json, and how many rows its embedding has.
struct TokenizerText {
  std::string json;
  std::string name;
  std::int64_t rows = 0;
};

/// The first without the tokens that have no row. Errors: kUnsupported where it is no BPE model and
/// there are such tokens.
[[nodiscard]] std::string stripped_tokenizer(const TokenizerText& tokenizer);
/// Errors: kCorrupt; kUnsupported as above for the first.
[[nodiscard]] std::string union_tokenizer(const std::vector<TokenizerText>& tokenizers);
/// With the tokens that it does not have yet, as plain added tokens.
[[nodiscard]] std::string with_tokens(const std::string& tokenizer_json,
                                      const std::vector<std::string>& tokens,
                                      const std::string& name);

}  // namespace growmerge::merging
