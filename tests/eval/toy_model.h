// A tiny random model and a tokenizer of single characters, for tests.
#pragma once

#include <string>

#include "core/model/checkpoint.h"
#include "core/tokenizer/tokenizer.h"

namespace growmerge::testing {

/// Llama with 99 tokens (see toy_tokenizer), hidden size 16, 2 layers, context 12; BOS 1, EOS 2.
[[nodiscard]] Model toy_model(std::uint64_t seed);
/// <unk>, <s>, </s> and printable ASCII, one token a character, no merges; ids 3 .. 98.
[[nodiscard]] Tokenizer toy_tokenizer();

}  // namespace growmerge::testing
