// A new model from a few numbers in a config.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/model/model_config.h"

namespace growmerge::launch {

/// A small Llama whose 0s follow from the other numbers.
[[nodiscard]] ModelConfig small_llama();

struct InitConfig {
  std::string tokenizer;
  ModelConfig model = small_llama();

  void describe(FieldVisitor& v) {
    v("tokenizer", tokenizer, "", "directory of a tokenizer: gives the vocabulary, BOS and EOS",
      v.kInput);
    v("hidden_size", model.hidden_size, "", "d, width of the residual stream");
    v("intermediate_size", model.intermediate_size, "",
      "F, width of the MLP; 0: 8 d / 3 rounded up to 16");
    v("num_layers", model.num_layers, "", "L");
    v("num_heads", model.num_heads, "", "H, query heads");
    v("num_kv_heads", model.num_kv_heads, "", "K, key and value heads; 0: as many as query heads");
    v("head_dim", model.head_dim, "", "h, width of a head; 0: d / H");
    v("max_position_embeddings", model.max_position_embeddings, "tokens", "context length");
    std::string activation = activation_name(model.activation);
    v("activation", activation, "", "of the MLP's gate: silu, gelu or gelu_pytorch_tanh");
    const std::optional<Activation> known = find_activation(activation);
    GM_CHECK(known.has_value(), kInvalidArgument,
             "init.activation: expected silu, gelu or gelu_pytorch_tanh, got '", activation, "'");
    model.activation = *known;
    v("rms_norm_eps", model.rms_norm_eps, "", "added to the mean square in RMSNorm");
    v("rope_theta", model.rope.theta, "", "base of the rotary frequencies");
    v("tie_word_embeddings", model.tie_word_embeddings, "", "one matrix for embedding and head");
    v("initializer_range", model.initializer_range, "", "standard deviation of random matrices");
  }
};

/// A Llama of these numbers. BOS and EOS come from the files beside the tokenizer. Errors:
/// kInvalidArgument, and those of the tokenizer.
[[nodiscard]] ModelConfig make_model_config(const InitConfig& init);

}  // namespace growmerge::launch
