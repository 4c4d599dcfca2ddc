// What a pass takes, said beforehand from the very buffers that it makes.
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/ops/attention.h"
#include "core/ops/kernel_set.h"
#include "core/transformer/buffers.h"
#include "core/transformer/head.h"
#include "core/transformer/transformer.h"

namespace growmerge {
namespace {

/// Workspaces of cuBLAS and the like.
constexpr std::int64_t kCudaScratchBytes = 100'000'000;

/// The RoPE table and what attention's threads need.
std::int64_t shared_bytes(const ModelConfig& config, std::int64_t num_positions,
                          at::ScalarType dtype) {
  const std::int64_t segment = std::min(num_positions, config.max_position_embeddings);
  return segment * config.head_dim * 4 +
         ops::attention_scratch_bytes(segment, config.head_dim, at::get_num_threads(), dtype);
}

}  // namespace

std::int64_t activation_bytes(const ModelConfig& config, std::int64_t num_positions,
                              at::ScalarType dtype, at::DeviceType device) {
  const transformer::BufferShape shape{
      num_positions, transformer::automatic_chunk_rows(config, num_positions, dtype, device), true,
      dtype, at::Device(device)};
  const std::int64_t buffers = transformer::buffer_bytes(config, shape);
  const std::int64_t q = config.num_heads * config.head_dim;
  if (device != at::kCPU) {
    // Attention's backward: sums of dq in float32, of which flash attention keeps two or three,
    // keys' and values' gradients per query head, and the three gradients before they are copied to
    // where they belong. Ids, positions, the order of tokens.
    const std::int64_t kv = config.num_kv_heads * config.head_dim;
    const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
    return buffers + num_positions * (12 * q + (3 * q + 2 * kv) * element + 64) + kCudaScratchBytes;
  }
  // A library's weight gradient exists once in bfloat16 before it is added in float32.
  const std::int64_t widest = std::max({config.vocab_size, config.intermediate_size, q});
  const bool is_rounded = dtype == at::ScalarType::BFloat16 && !ops::prefers_own_products(dtype);
  const std::int64_t product = is_rounded ? widest * config.hidden_size * 2 : 0;
  return buffers + product + shared_bytes(config, num_positions, dtype);
}

std::int64_t inference_bytes(const ModelConfig& config, std::int64_t num_positions,
                             at::ScalarType dtype) {
  const std::int64_t rows =
      transformer::automatic_chunk_rows(config, num_positions, dtype, at::kCPU);
  // The hidden states are copied out; logits in bfloat16 become float32 for the log-softmax.
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  const std::int64_t logits =
      dtype == at::ScalarType::BFloat16 ? rows * config.vocab_size * 4 : std::int64_t{0};
  return transformer::buffer_bytes(config, {num_positions, rows, false, dtype}) + logits +
         num_positions * config.hidden_size * element + shared_bytes(config, num_positions, dtype);
}

}  // namespace growmerge
