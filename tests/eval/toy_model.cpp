#include "tests/eval/toy_model.h"

#include <nlohmann/json.hpp>

namespace growmerge::testing {

Model toy_model(std::uint64_t seed) {
  ModelConfig config;
  config.vocab_size = 99;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 8;
  config.max_position_embeddings = 12;
  config.initializer_range = 0.3;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  return init_model(config, seed);
}

Tokenizer toy_tokenizer() {
  nlohmann::json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  int id = 3;
  vocab["\xC4\xA0"] = id++;  // the byte-level alphabet's space
  for (char c = '!'; c <= '~'; ++c) {
    vocab[std::string(1, c)] = id++;
  }
  vocab["\xC4\x8A"] = id++;  // newline
  const auto special = [](int token, const char* content) {
    return nlohmann::json{{"id", token},     {"content", content}, {"single_word", false},
                          {"lstrip", false}, {"rstrip", false},    {"normalized", false},
                          {"special", true}};
  };
  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", true}};
  const nlohmann::json json = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", {special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")}},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor", nullptr},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"vocab", vocab},
        {"merges", nlohmann::json::array()}}}};
  return Tokenizer::parse(json.dump(), "toy tokenizer");
}

}  // namespace growmerge::testing
