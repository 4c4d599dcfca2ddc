#include <algorithm>

#include "core/model/flops.h"
#include "core/store/safetensors.h"
#include "core/transformer/transformer.h"
#include "distributed/train.h"

namespace growmerge::distributed {
namespace {

/// What CUDA adds to a process, in host memory and on the device.
constexpr std::int64_t kCudaProcessBytes = 2'000'000'000;
constexpr std::int64_t kCudaContextBytes = 700'000'000;

std::int64_t width_of(at::ScalarType dtype) {
  return static_cast<std::int64_t>(c10::elementSize(dtype));
}

}  // namespace

std::int64_t checkpoint_bytes(const TrainConfig& config, const ModelConfig& model,
                              std::int64_t num_steps) {
  const at::ScalarType master = master_dtype(config);
  const at::ScalarType saved = parse_dtype(config.save_dtype, "save_dtype");
  const std::int64_t width = width_of(master);
  // The model, two moments, and the masters where the model is rounded.
  const std::int64_t bytes = width_of(saved) + 2 * width + (saved == master ? 0 : width);
  const std::int64_t every = config.checkpoint_every;
  const std::int64_t written = every > 0 ? (num_steps + every - 1) / every : 1;
  // One more than is kept, because the oldest goes when the new one is whole; those that the clock
  // asks for are kept beside.
  const std::int64_t timed = config.checkpoint_minutes > 0.0 ? config.keep_last : 0;
  return num_parameters(model) * bytes * (std::min(written, config.keep_last + 1) + timed);
}

TrainingMemory training_memory(const TrainConfig& config, const ModelConfig& model,
                               std::int64_t row_tokens, int world_size, at::DeviceType device) {
  const at::ScalarType master = master_dtype(config);
  const at::ScalarType compute = parse_dtype(config.dtype, "dtype");
  const std::int64_t width = width_of(master);
  const std::int64_t copies = compute == master ? 0 : width_of(compute);
  const std::int64_t rank_rows = (config.batch_rows + world_size - 1) / world_size;
  const std::int64_t rows =
      config.microbatch_rows > 0 ? std::min(config.microbatch_rows, rank_rows) : rank_rows;
  // Masters, gradients and two moments.
  const std::int64_t training = num_parameters(model) * (4 * width + copies) +
                                activation_bytes(model, rows * row_tokens, compute, device);
  if (device == at::kCPU) {
    return {.host = kProcessBytes + training, .device = 0};
  }
  // The host holds the model until it is on the device.
  return {.host = kProcessBytes + kCudaProcessBytes + num_parameters(model) * width,
          .device = kCudaContextBytes + training};
}

}  // namespace growmerge::distributed
