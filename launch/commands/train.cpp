// growmerge train: (continued) pretraining, on one rank or many.
#include "launch/commands/train.h"

#include <optional>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/transformer/backend.h"
#include "distributed/train.h"
#include "launch/commands/commands.h"
#include "launch/lineage.h"

namespace growmerge::launch {
namespace {

void add_source_inputs(StagePlan& plan, const TrainCommandConfig& config) {
  for (std::size_t i = 0; i < config.mixture.sources.size(); ++i) {
    plan.inputs.push_back({concat("data ", i), config.mixture.sources[i].path});
  }
  for (std::size_t i = 0; i < config.held_out.sources.size(); ++i) {
    plan.inputs.push_back({concat("held-out ", i), config.held_out.sources[i].path});
  }
  for (std::size_t i = 0; i < config.match.size(); ++i) {
    plan.inputs.push_back({concat("match ", i), config.match[i].model});
  }
}

StagePlan plan(const TrainCommandConfig& config) {
  StagePlan out;
  out.stage = "train";
  out.seed = static_cast<std::uint64_t>(config.train.seed);
  out.resumable = true;
  out.saves_on_signal = true;
  out.inputs.push_back({config.model.empty() ? "tokenizer" : "model", start_path(config)});
  add_source_inputs(out, config);
  return out;
}

distributed::TrainRun train_run(const TrainCommandConfig& config, const Lineage& before,
                                const distributed::Placement& place, const StageRun& run) {
  return {.work_dir = run.dir,
          .companions_from = start_path(config),
          .start_identity = start_identity(config, run.manifest.inputs.front().identity),
          .check_inputs = run.check_inputs,
          .flops_before = before.flops_total,
          .tokens_before = before.tokens_total,
          .device = place.device,
          .device_name = place.name};
}

void record_result(const TrainCommandConfig& config, const Lineage& before,
                   const distributed::TrainResult& result, const std::string& device,
                   Manifest& manifest) {
  manifest.flops = result.flops;
  manifest.flops_total = before.flops_total + result.flops;
  // Sunk is what lies before the last growth, and training is none.
  manifest.flops_sunk = before.flops_sunk;
  manifest.tokens = result.tokens;
  manifest.tokens_total = before.tokens_total + result.tokens;
  manifest.notes = before.notes;
  // Merging reads these: which base a model continued from, and what that had cost.
  if (!config.model.empty()) {
    manifest.notes["continued_from"] = manifest.inputs.front().identity;
    manifest.notes["continued_from_path"] = config.model;
    manifest.notes["start_flops"] = concat(before.flops_total);
  }
  manifest.notes["device"] = device;
  manifest.notes["steps"] = std::to_string(result.steps);
  manifest.notes["budget_mismatch"] = concat(result.budget_mismatch);
  for (const auto& [name, loss] : result.held_out) {
    manifest.notes[name] = concat(loss);
  }
}

void work(const TrainCommandConfig& config, StageRun& run) {
  const CudaBackend* backend = opened_cuda_backend();
  const distributed::Placement place =
      distributed::place_rank(config.train.device, backend, run.comm);
  std::optional<PreparedTraining> prepared;
  run_agreed(run.comm, [&] {
    require_room(config, place, run);
    prepared = prepare_training(config);
  });
  const Lineage before = config.model.empty() ? Lineage{} : lineage_of(config.model);
  std::vector<StepObserver*> observers;
  if (prepared->symmetry != nullptr && run.comm.is_root()) {  // which alone writes metrics
    observers.push_back(prepared->symmetry.get());
  }
  // Gradients are summed where they lie: by NCCL between GPUs, by MPI between processes.
  const auto device_comm = distributed::make_device_communicator(place, backend, run.comm);
  Communicator& comm = device_comm != nullptr ? *device_comm : run.comm;
  if (place.device.is_cuda()) {
    log_info(concat("training on ", run.comm.size(), " GPU(s), this rank's is ", place.device.str(),
                    ", ", place.name));
  }
  const distributed::TrainResult result = distributed::train(
      prepared->train, std::move(prepared->model), *prepared->source, prepared->held_out.get(),
      comm, observers, train_run(config, before, place, run));
  record_result(config, before, result, place.name, run.manifest);
}

}  // namespace

Command train_command() {
  Command out;
  out.name = "train";
  out.doc = "(continued) pretraining, on one rank or many";
  out.usage = "[MODEL] --config FILE --out DIR";
  out.details =
      "MODEL is a Hugging Face model directory. Started under mpirun, all ranks train one model.\n"
      "SIGUSR1 and SIGTERM write a checkpoint; the same command resumes from it.\n";
  set_stage<TrainCommandConfig>(out, plan, estimate_training, work);
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    GM_CHECK(paths.size() <= 1, kInvalidArgument, "'train' takes one model, got ", paths.size(),
             " paths");
    if (!paths.empty()) {
      set_scalar(config, "model", paths.front());
    }
  };
  return out;
}

}  // namespace growmerge::launch
