// A new model from a few numbers in a config.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/config.h"
#include "core/model/model_config.h"

namespace growmerge::launch {

struct InitConfig {
  std::string tokenizer;
  std::int64_t hidden_size = 128;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 4;
  std::int64_t num_heads = 4;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position_embeddings = 1024;
  std::string activation = "silu";
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000.0;
  bool tie_word_embeddings = true;
  double initializer_range = 0.02;

  void describe(FieldVisitor& v) {
    v("tokenizer", tokenizer, "", "directory of a tokenizer: gives the vocabulary, BOS and EOS",
      v.kInput);
    v("hidden_size", hidden_size, "", "d, width of the residual stream");
    v("intermediate_size", intermediate_size, "",
      "F, width of the MLP; 0: 8 d / 3 rounded up to 16");
    v("num_layers", num_layers, "", "L");
    v("num_heads", num_heads, "", "H, query heads");
    v("num_kv_heads", num_kv_heads, "", "K, key and value heads; 0: as many as query heads");
    v("head_dim", head_dim, "", "h, width of a head; 0: d / H");
    v("max_position_embeddings", max_position_embeddings, "tokens", "context length");
    v("activation", activation, "", "of the MLP's gate: silu, gelu or gelu_tanh");
    v("rms_norm_eps", rms_norm_eps, "", "added to the mean square in RMSNorm");
    v("rope_theta", rope_theta, "", "base of the rotary frequencies");
    v("tie_word_embeddings", tie_word_embeddings, "", "one matrix for embedding and head");
    v("initializer_range", initializer_range, "", "standard deviation of random matrices");
  }
};

/// A Llama of these numbers. BOS and EOS come from the files beside the tokenizer. Errors:
/// kInvalidArgument, and those of the tokenizer.
[[nodiscard]] ModelConfig make_model_config(const InitConfig& init);

}  // namespace growmerge::launch
