#include "tests/distributed/synthetic.h"

#include <ATen/ops/empty.h>

#include "core/base/random.h"

namespace growmerge::testing {

Batch SyntheticSource::rows(std::int64_t first, std::int64_t count) {
  asked.push_back(first);
  const std::int64_t width = options_.row_tokens;
  Batch batch;
  batch.num_rows = count;
  batch.row_tokens = width;
  batch.tokens = at::empty({count * width}, at::kLong);
  batch.targets = at::empty({count * width}, at::kLong);
  auto* tokens = batch.tokens.data_ptr<std::int64_t>();
  auto* targets = batch.targets.data_ptr<std::int64_t>();
  const Philox random(options_.seed, stream_id("synthetic"));
  const auto vocab = static_cast<std::uint64_t>(options_.vocab_size);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto row = static_cast<std::uint64_t>(first + i);
    const std::uint64_t language = random.below(1000 * row, 2);
    batch.row_sources.push_back(static_cast<std::int32_t>(language));
    const std::int64_t cut = 3 + static_cast<std::int64_t>(random.below(1000 * row + 1, 6));
    std::uint64_t previous = random.below(1000 * row + 2, vocab);
    for (std::int64_t t = 0; t < width; ++t) {
      const std::int64_t at = i * width + t;
      const auto position = 1000 * row + 10 + 2 * static_cast<std::uint64_t>(t);
      previous = random.uniform(position) < 0.8 ? (previous * (language == 0 ? 5 : 7) + 3) % vocab
                                                : random.below(position + 1, vocab);
      tokens[at] = static_cast<std::int64_t>(previous);
      const bool starts = t == 0 || t == cut;
      if (starts) {
        batch.segment_starts.push_back(static_cast<std::int32_t>(at));
      }
      if (!starts) {
        targets[at - 1] = tokens[at];
      } else if (at > 0) {
        targets[at - 1] = Batch::kIgnoredTarget;
      }
    }
    targets[(i + 1) * width - 1] = Batch::kIgnoredTarget;
  }
  batch.segment_starts.push_back(static_cast<std::int32_t>(count * width));
  return batch;
}

ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 48;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 64;
  config.tie_word_embeddings = true;
  config.initializer_range = 0.1;
  config.bos_token_id = 0;
  config.eos_token_ids = {1};
  return config;
}

Model tiny_model() { return init_model(tiny_config(), 5); }

}  // namespace growmerge::testing
