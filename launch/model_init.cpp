#include "launch/model_init.h"

#include <filesystem>

#include "core/base/error.h"
#include "core/tokenizer/tokenizer.h"
#include "data/tokenize.h"

namespace growmerge::launch {

ModelConfig small_llama() {
  ModelConfig config;
  config.hidden_size = 128;
  config.num_layers = 4;
  config.num_heads = 4;
  config.max_position_embeddings = 1024;
  return config;
}

ModelConfig make_model_config(const InitConfig& init) {
  const Tokenizer tokenizer = Tokenizer::load(init.tokenizer);
  ModelConfig out = init.model;
  GM_CHECK(out.num_heads > 0, kInvalidArgument, "init.num_heads must be at least 1");
  out.vocab_size = tokenizer.vocab_size();
  if (out.intermediate_size <= 0) {
    // 8 d / 3 gives the gated MLP as many weights as a plain one of 4 d; multiples of 16 keep the
    // kernels' rows whole.
    out.intermediate_size = (out.hidden_size * 8 / 3 + 15) / 16 * 16;
  }
  if (out.num_kv_heads <= 0) {
    out.num_kv_heads = out.num_heads;
  }
  if (out.head_dim <= 0) {
    out.head_dim = out.hidden_size / out.num_heads;
  }
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
