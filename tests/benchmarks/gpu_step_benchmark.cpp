// Steps of training on one GPU, on request, for gpu_benchmark.py:
//   gpu_step_benchmark CONFIG.json ROWS TOKENS float32|bfloat16
// What the training loop does in a step, on random tokens that come from the host anew each time:
// forward, backward (a CUDA graph from the second step on), clip factor and AdamW; the host reads a
// step's numbers while the next one runs. The first line says the device and the FLOPs of a token;
// each line read from stdin is a number of steps to make, each line written is a JSON object with
// seconds per step, the last loss and the peak of device memory. Exit code 3, and why on stdout,
// where there is no GPU.
#include <ATen/ops/randint.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <chrono>
#include <cstdio>
#include <deque>
#include <iostream>

#include "core/model/checkpoint.h"
#include "core/model/flops.h"
#include "core/ops/adamw.h"
#include "core/store/safetensors.h"
#include "core/transformer/backend.h"
#include "core/transformer/transformer.h"
#include "distributed/device.h"
#include "distributed/sharding/replicated_store.h"
#include "distributed/sharding/whole_model.h"
#include "distributed/step_update.h"

namespace growmerge::distributed {
namespace {

constexpr int kNoGpu = 3;

Batch random_batch(const ModelConfig& config, std::int64_t rows, std::int64_t tokens) {
  Batch batch;
  batch.num_rows = rows;
  batch.row_tokens = tokens;
  batch.tokens = at::randint(config.vocab_size, {rows * tokens}, at::kLong);
  batch.targets = at::randint(config.vocab_size, {rows * tokens}, at::kLong);
  for (std::int64_t r = 0; r <= rows; ++r) {
    batch.segment_starts.push_back(static_cast<std::int32_t>(r * tokens));
  }
  batch.row_sources.assign(static_cast<std::size_t>(rows), 0);
  return batch;
}

class Steps {
 public:
  Steps(const ModelConfig& config, std::int64_t rows, std::int64_t tokens, at::ScalarType dtype,
        at::Device device)
      : config_(config),
        rows_(rows),
        tokens_(tokens),
        device_(device),
        store_(init_model(config, 1).params,
               {.num_layers = config.num_layers,
                .compute = dtype,
                .device = device,
                .bucket_bytes = 64'000'000},
               *comm_),
        state_(make_adamw_state(store_.owned().params)) {
    workspace_.record_graphs(true);
  }

  /// Returns the last loss, when the device has finished.
  double make(int count) {
    for (int i = 0; i < count; ++i) {
      taken_.push_back(take());
      read(1);
    }
    read(0);
    return loss_;
  }

 private:
  StepNumbers take() {
    const Batch batch = random_batch(config_, rows_, tokens_);
    RankRows rows(rows_, device_);
    store_.zero_gradients();
    {
      const WholeModel whole(store_);
      rows.add(batch, row_losses_and_gradients(config_, whole.params(), batch, 1.0,
                                               whole.gradients(), {}, &workspace_));
    }
    store_.finish_gradients();
    StepSums sums(1, device_);
    sums.add(rows);
    sums.reduce(*comm_);
    return update_parameters(store_, state_, sums, rows,
                             {.lr = 1e-4, .clip_norm = 1.0, .adamw = {}});
  }

  void read(std::size_t left) {
    while (taken_.size() > left) {
      taken_.front().wait(*comm_, 0.0);
      loss_ = taken_.front().loss(0) / static_cast<double>(rows_ * tokens_);
      taken_.pop_front();
    }
  }

  ModelConfig config_;
  std::int64_t rows_;
  std::int64_t tokens_;
  at::Device device_;
  std::unique_ptr<Communicator> comm_ = make_single_process_communicator();
  ReplicatedStore store_;
  AdamWState state_;
  Workspace workspace_;
  std::deque<StepNumbers> taken_;
  double loss_ = 0.0;
};

int run(const std::string& config_path, std::int64_t rows, std::int64_t tokens,
        at::ScalarType dtype) {
  const CudaBackend* backend = open_cuda_backend("");
  if (backend == nullptr) {
    std::printf("%s\n", why_no_cuda().c_str());
    return kNoGpu;
  }
  const auto alone = make_single_process_communicator();
  const Placement place = place_rank("cuda", backend, *alone);
  const ModelConfig config = load_model_config(config_path);
  Steps steps(config, rows, tokens, dtype, place.device);
  std::printf("{\"device\": \"%s\", \"peak_tflops\": %.1f, \"flops_per_token\": %.6e}\n",
              place.name.c_str(), peak_bfloat16_tflops(place.name),
              train_flops_per_token(config, tokens, FlopConvention::kCausal));
  std::fflush(stdout);
  for (int count = 0; std::cin >> count;) {
    const auto start = std::chrono::steady_clock::now();
    const double loss = steps.make(count);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const auto stats = at::getDeviceAllocator(at::kCUDA)->getDeviceStats(place.device.index());
    const auto& reserved =
        stats.reserved_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
    std::printf("{\"seconds\": %.6f, \"loss\": %.5f, \"peak_mb\": %.1f}\n", took.count() / count,
                loss, static_cast<double>(reserved.peak) / 1e6);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace growmerge::distributed

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s CONFIG.json ROWS TOKENS float32|bfloat16\n", argv[0]);
    return 2;
  }
  try {
    return growmerge::distributed::run(argv[1], std::stoll(argv[2]), std::stoll(argv[3]),
                                       growmerge::parse_dtype(argv[4], "dtype"));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
