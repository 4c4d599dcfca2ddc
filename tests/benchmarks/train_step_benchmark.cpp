// Steps of training on random tokens, on request, for train_step_benchmark.py:
//   train_step_benchmark CONFIG.json ROWS TOKENS float32|bfloat16
// Each line read from stdin is a number of steps to make; each line written is a JSON object with
// seconds and processor seconds per step (forward, backward, AdamW), the last loss and the peak
// resident set so far.
#include <ATen/Parallel.h>
#include <ATen/ops/randint.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>

#include "core/model/checkpoint.h"
#include "core/model/model_config.h"
#include "core/ops/adamw.h"
#include "core/store/safetensors.h"
#include "core/transformer/transformer.h"

namespace growmerge {
namespace {

Batch random_batch(const ModelConfig& config, std::int64_t rows, std::int64_t tokens) {
  Batch batch;
  batch.num_rows = rows;
  batch.row_tokens = tokens;
  batch.tokens = at::randint(config.vocab_size, {rows * tokens}, at::ScalarType::Long);
  batch.targets = at::randint(config.vocab_size, {rows * tokens}, at::ScalarType::Long);
  for (std::int64_t r = 0; r <= rows; ++r) {
    batch.segment_starts.push_back(static_cast<std::int32_t>(r * tokens));
  }
  batch.row_sources.assign(static_cast<std::size_t>(rows), 0);
  return batch;
}

double processor_seconds() {
  return static_cast<double>(std::clock()) / static_cast<double>(CLOCKS_PER_SEC);
}

std::int64_t peak_resident_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return std::stoll(line.substr(6));
    }
  }
  return 0;
}

void run(const std::string& config_path, std::int64_t rows, std::int64_t tokens,
         at::ScalarType dtype) {
  const ModelConfig config = load_model_config(config_path);
  const ParamMap master = init_model(config, 1).params;
  const ParamMap compute = dtype == at::ScalarType::Float ? master : master.to(dtype);
  const ParamMap grads = master.zeros_like(at::ScalarType::Float);
  AdamWState state = make_adamw_state(master);
  const AdamWConfig optimizer;
  const Batch batch = random_batch(config, rows, tokens);
  Workspace workspace;
  for (int count = 0; std::cin >> count;) {
    double loss = 0.0;
    const double processor_start = processor_seconds();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      for (const auto& [name, grad] : grads) {
        grad.zero_();
      }
      const double scale = 1.0 / static_cast<double>(batch.num_positions());
      loss =
          scale * loss_and_gradients(config, compute, batch, scale, grads, {}, &workspace).loss_sum;
      adamw_step_(master, grads, state, 1e-4, 1.0, optimizer,
                  dtype == at::ScalarType::Float ? ParamMap() : compute);
    }
    const double used = processor_seconds() - processor_start;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf(
        "{\"seconds\": %.6f, \"processor\": %.6f, \"loss\": %.5f, \"peak_mb\": %.1f, \"said_mb\": "
        "%.1f}\n",
        took.count() / count, used / count, loss, static_cast<double>(peak_resident_kb()) / 1024.0,
        static_cast<double>(activation_bytes(config, rows * tokens, dtype)) / 1e6);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace growmerge

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s CONFIG.json ROWS TOKENS float32|bfloat16\n", argv[0]);
    return 2;
  }
  try {
    growmerge::run(argv[1], std::stoll(argv[2]), std::stoll(argv[3]),
                   growmerge::parse_dtype(argv[4], "dtype"));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
