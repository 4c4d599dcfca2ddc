#include <cmath>

#include "core/base/error.h"
#include "core/base/format.h"
#include "core/model/flops.h"
#include "core/transformer/backend.h"
#include "data/token_stream.h"
#include "distributed/train.h"
#include "launch/commands/train.h"
#include "launch/headroom.h"

namespace growmerge::launch {
namespace {

std::string model_text(const ModelConfig& model, const distributed::TrainPlan& plan) {
  const double steps = static_cast<double>(plan.steps);
  return "model     " + format_count(num_parameters(model)) + " parameters\n" + "steps     " +
         format_count(plan.steps) + " of " + format_count(plan.tokens_per_step) + " tokens (" +
         format_count(plan.steps * plan.tokens_per_step) + ")\n" + "costs     " +
         format_flops(steps * plan.flops_per_step) + " (budget missed by " +
         concat(std::round(plan.mismatch * 1e5) / 1e3) + " % by whole steps)\n";
}

std::string data_text(const TrainCommandConfig& config, std::int64_t rows) {
  std::string text;
  // Opening the shards reads their headers; how often each is gone through follows from the
  // mixture.
  const auto stream = data::TokenStream::open(config.mixture, {});
  for (const data::SourceUse& use : stream->use(rows)) {
    text += "data      " + use.name + ": " + format_count(use.tokens) + " tokens, " +
            concat(std::round(use.epochs * 1000) / 1000) + " epochs\n";
  }
  return text;
}

std::string memory_text(const distributed::TrainConfig& train, const ModelConfig& model,
                        std::int64_t row_tokens, int ranks) {
  // `cuda` counts as there even where it is not: a dry run may well be made on a login node.
  const bool on_cuda =
      train.device == "cuda" || (train.device == "auto" && opened_cuda_backend() != nullptr);
  const auto memory =
      distributed::training_memory(train, model, row_tokens, ranks, on_cuda ? at::kCUDA : at::kCPU);
  std::string text = "memory    " + format_bytes(static_cast<double>(memory.host)) + " a rank\n";
  if (on_cuda) {
    text += "GPU       " + format_bytes(static_cast<double>(memory.device)) + " a rank\n";
  }
  return text;
}

}  // namespace

std::string estimate_training(const TrainCommandConfig& config, int ranks) {
  const ModelConfig model = start_config(config);
  const distributed::TrainConfig train = resolve_budget(config);
  const auto plan = distributed::plan_training(train, model, config.mixture.row_tokens);
  return model_text(model, plan) + data_text(config, plan.steps * train.batch_rows) +
         memory_text(train, model, config.mixture.row_tokens, ranks) + "disk      " +
         format_bytes(
             static_cast<double>(distributed::checkpoint_bytes(train, model, plan.steps))) +
         " for checkpoints, the finished model included\n";
}

void require_room(const TrainCommandConfig& config, const distributed::Placement& place,
                  const StageRun& run) {
  const distributed::TrainConfig train = resolve_budget(config);
  const ModelConfig model = start_config(config);
  const std::int64_t row_tokens = config.mixture.row_tokens;
  const auto memory =
      distributed::training_memory(train, model, row_tokens, run.comm.size(), place.device.type());
  if (run.comm.local_rank() == 0) {
    require_memory(static_cast<double>(memory.host) * run.comm.local_size(),
                   concat("training on ", run.comm.local_size(), " rank(s) of this machine"));
  }
  // Ranks may share a GPU with others: what is free now is what counts.
  if (place.device.is_cuda()) {
    const double there = distributed::available_device_memory(place.device);
    const auto needed = static_cast<double>(memory.device);
    GM_CHECK(there >= needed, kInvalidArgument, "training needs ", format_bytes(needed),
             " of GPU memory, ", place.device.str(), " (", place.name, ") has ",
             format_bytes(there),
             " free; lower microbatch_rows or row_tokens, or take a smaller model");
  }
  if (run.comm.is_root()) {
    const auto plan = distributed::plan_training(train, model, row_tokens);
    require_disk(run.dir,
                 static_cast<double>(distributed::checkpoint_bytes(train, model, plan.steps)),
                 "checkpoints");
  }
}

}  // namespace growmerge::launch
