#include "launch/model_init.h"

#include <filesystem>

#include "core/base/error.h"
#include "core/tokenizer/tokenizer.h"
#include "data/tokenize.h"

namespace growmerge::launch {

ModelConfig make_model_config(const InitConfig& init) {
  const Tokenizer tokenizer = Tokenizer::load(init.tokenizer);
  ModelConfig out;
  out.vocab_size = tokenizer.vocab_size();
  out.hidden_size = init.hidden_size;
  // 8 d / 3 gives the gated MLP as many weights as a plain one of 4 d; multiples of 16 keep the
  // kernels' rows whole.
  out.intermediate_size = init.intermediate_size > 0 ? init.intermediate_size
                                                     : (init.hidden_size * 8 / 3 + 15) / 16 * 16;
  out.num_layers = init.num_layers;
  out.num_heads = init.num_heads;
  out.num_kv_heads = init.num_kv_heads > 0 ? init.num_kv_heads : init.num_heads;
  GM_CHECK(init.num_heads > 0, kInvalidArgument, "init.num_heads must be at least 1");
  out.head_dim = init.head_dim > 0 ? init.head_dim : init.hidden_size / init.num_heads;
  out.max_position_embeddings = init.max_position_embeddings;
  out.activation =
      with_context("init.activation", [&] { return parse_activation(init.activation); });
  out.rms_norm_eps = init.rms_norm_eps;
  out.rope.theta = init.rope_theta;
  out.tie_word_embeddings = init.tie_word_embeddings;
  out.initializer_range = init.initializer_range;
  out.eos_token_ids = {data::find_eos_id(tokenizer, init.tokenizer, std::nullopt)};
  // What a tokenizer puts before empty text is its BOS, whether or not a file names it.
  const std::vector<std::int32_t> empty = tokenizer.encode("", true);
  if (!empty.empty()) {
    out.bos_token_id = empty.front();
  }
  out.validate();
  return out;
}

}  // namespace growmerge::launch
