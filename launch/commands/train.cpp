// growmerge train: (continued) pretraining, on one rank or many.
#include <cmath>
#include <memory>

#include "core/base/error.h"
#include "core/base/format.h"
#include "core/base/log.h"
#include "core/model/checkpoint.h"
#include "core/model/flops.h"
#include "core/store/hashes.h"
#include "core/store/manifest.h"
#include "core/tokenizer/tokenizer.h"
#include "core/transformer/backend.h"
#include "data/held_out_stream.h"
#include "data/mixture.h"
#include "data/prefetch.h"
#include "data/token_stream.h"
#include "distributed/device.h"
#include "distributed/train.h"
#include "launch/commands/commands.h"
#include "launch/headroom.h"
#include "launch/lineage.h"
#include "launch/model_init.h"
#include "launch/stage_driver.h"
#include "launch/symmetry.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

/// The FLOPs that so many tokens cost with a model.
struct MatchConfig {
  std::string model;
  std::int64_t tokens = 0;

  void describe(FieldVisitor& v) {
    v("model", model, "", "a checkpoint (only its config.json is read)", v.kInput);
    v("tokens", tokens, "tokens", "training tokens whose cost counts");
  }
};

struct TrainCommandConfig {
  std::string model;
  InitConfig init;
  data::MixtureConfig mixture;
  data::HeldOutConfig held_out;
  std::vector<MatchConfig> match;
  SymmetryConfig symmetry;
  distributed::TrainConfig train;

  void describe(FieldVisitor& v) {
    v("model", model, "", "checkpoint to continue from; empty: random weights of `init`", v.kInput);
    v("init", init, "", "a new model; used where `model` is empty");
    v("mixture", mixture, "", "what is trained on");
    v("held_out", held_out, "", "what the loss is watched on");
    v("match", match, "",
      "budget as the sum of what tokens cost with the models named (3 x forward, causal, at this "
      "run's row length); instead of `budget`");
    v("symmetry", symmetry, "", "watching the clones of a grown model");
    train.describe(v);
  }

  void validate() const {
    GM_CHECK(!model.empty() || !init.tokenizer.empty(), kInvalidArgument,
             "train: give `model: PATH` to continue, or `init:` with a tokenizer for a new model");
    GM_CHECK(!mixture.sources.empty(), kInvalidArgument, "train: mixture.sources is empty");
    mixture.validate();
    for (const MatchConfig& part : match) {
      GM_CHECK(!part.model.empty() && part.tokens > 0, kInvalidArgument,
               "train: each entry of match needs a model and tokens > 0");
    }
    const auto& budget = train.budget;
    const bool given = budget.steps || budget.tokens || budget.flops;
    GM_CHECK(given != !match.empty(), kInvalidArgument,
             "train: give one of budget.steps, budget.tokens, budget.flops and match");
    if (match.empty()) {
      train.validate();
    } else {
      distributed::TrainConfig with_budget = train;
      with_budget.budget.flops = 1.0;
      with_budget.validate();
    }
  }
};

/// Where the start of the run comes from.
std::string start_path(const TrainCommandConfig& config) {
  return config.model.empty() ? config.init.tokenizer : config.model;
}

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

ModelConfig start_config(const TrainCommandConfig& config) {
  return config.model.empty() ? make_model_config(config.init) : load_model_config(config.model);
}

/// The training config with its budget settled.
distributed::TrainConfig resolve_budget(const TrainCommandConfig& config) {
  distributed::TrainConfig out = config.train;
  if (!config.match.empty()) {
    double flops = 0.0;
    for (const MatchConfig& part : config.match) {
      flops += static_cast<double>(part.tokens) *
               train_flops_per_token(load_model_config(part.model), config.mixture.row_tokens,
                                     FlopConvention::kCausal);
    }
    out.budget.flops = flops;
  }
  return out;
}

data::HeldOutConfig held_out_config(const TrainCommandConfig& config) {
  data::HeldOutConfig out = config.held_out;
  if (out.row_tokens == 0) {
    out.row_tokens = config.mixture.row_tokens;
  }
  if (!out.cross_document) {
    out.cross_document = config.mixture.cross_document;
  }
  return out;
}

std::string estimate(const TrainCommandConfig& config, int ranks) {
  const ModelConfig model = start_config(config);
  const distributed::TrainConfig train = resolve_budget(config);
  const auto plan = distributed::plan_training(train, model, config.mixture.row_tokens);
  const double steps = static_cast<double>(plan.steps);
  std::string text = "model     " + format_count(num_parameters(model)) + " parameters\n" +
                     "steps     " + format_count(plan.steps) + " of " +
                     format_count(plan.tokens_per_step) + " tokens (" +
                     format_count(plan.steps * plan.tokens_per_step) + ")\n" + "costs     " +
                     format_flops(steps * plan.flops_per_step) + " (budget missed by " +
                     concat(std::round(plan.mismatch * 1e5) / 1e3) + " % by whole steps)\n";
  const auto stream = data::TokenStream::open(config.mixture, {});
  for (const data::SourceUse& use : stream->use(plan.steps * train.batch_rows)) {
    text += "data      " + use.name + ": " + format_count(use.tokens) + " tokens, " +
            concat(std::round(use.epochs * 1000) / 1000) + " epochs\n";
  }
  const bool on_cuda =
      train.device == "cuda" || (train.device == "auto" && opened_cuda_backend() != nullptr);
  const auto memory = distributed::training_memory(train, model, config.mixture.row_tokens, ranks,
                                                   on_cuda ? at::kCUDA : at::kCPU);
  text += "memory    " + format_bytes(static_cast<double>(memory.host)) + " a rank\n";
  if (on_cuda) {
    text += "GPU       " + format_bytes(static_cast<double>(memory.device)) + " a rank\n";
  }
  return text + "disk      " +
         format_bytes(
             static_cast<double>(distributed::checkpoint_bytes(train, model, plan.steps))) +
         " for checkpoints, the finished model included\n";
}

/// Refuses work that cannot end well, before it starts. Every rank calls it and looks at its GPU,
/// rank 0 of a machine looks at its memory and rank 0 of all at the disk.
void check_room(const distributed::TrainConfig& train, const ModelConfig& model,
                std::int64_t row_tokens, const distributed::Placement& place, const StageRun& run) {
  const auto memory =
      distributed::training_memory(train, model, row_tokens, run.comm.size(), place.device.type());
  if (run.comm.local_rank() == 0) {
    require_memory(static_cast<double>(memory.host) * run.comm.local_size(),
                   concat("training on ", run.comm.local_size(), " rank(s) of this machine"));
  }
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

/// What a resumed run must have started from: the checkpoint, or the new model's tokenizer and
/// shape.
std::string start_identity(const TrainCommandConfig& config, const Manifest& manifest) {
  const std::string& input = manifest.inputs.front().identity;
  const std::string shape =
      config.model.empty() ? model_config_json(make_model_config(config.init), "float32") : "";
  return config.model.empty() ? concat(input, " ", hash_bytes(shape.data(), shape.size())) : input;
}

Model start_model(const TrainCommandConfig& config) {
  if (!config.model.empty()) {
    return load_model(config.model, at::ScalarType::Float);
  }
  const ModelConfig model = make_model_config(config.init);
  return init_model(model, static_cast<std::uint64_t>(config.train.seed));
}

void work(const TrainCommandConfig& config, StageRun& run) {
  Model model;
  std::unique_ptr<BatchSource> source;
  std::unique_ptr<BatchSource> held_out;
  std::unique_ptr<StepObserver> symmetry;
  distributed::TrainConfig train;
  const CudaBackend* backend = opened_cuda_backend();
  const distributed::Placement place =
      distributed::place_rank(config.train.device, backend, run.comm);
  run_agreed(run.comm, [&] {
    train = resolve_budget(config);
    check_room(train, start_config(config), config.mixture.row_tokens, place, run);
    model = start_model(config);
    const data::ModelFit fit{.vocab_size = model.config.vocab_size,
                             .tokenizer_hash = tokenizer_hash_of(start_path(config))};
    auto stream = data::TokenStream::open(config.mixture, fit);
    source = std::make_unique<data::PrefetchSource>(std::move(stream), 2);
    if (!config.held_out.sources.empty()) {
      held_out = data::HeldOutStream::open(held_out_config(config), fit);
    }
    if (!config.model.empty()) {
      symmetry = make_growth_observer(model.config, config.symmetry);
    }
  });
  const Lineage before = config.model.empty() ? Lineage{} : lineage_of(config.model);
  const distributed::TrainRun where{.work_dir = run.dir,
                                    .companions_from = start_path(config),
                                    .start_identity = start_identity(config, run.manifest),
                                    .flops_before = before.flops_total,
                                    .tokens_before = before.tokens_total,
                                    .device = place.device,
                                    .device_name = place.name};
  std::vector<StepObserver*> observers;
  if (symmetry != nullptr && run.comm.is_root()) {  // which alone writes metrics
    observers.push_back(symmetry.get());
  }
  const auto device_comm = distributed::make_device_communicator(place, backend, run.comm);
  Communicator& comm = device_comm != nullptr ? *device_comm : run.comm;
  if (place.device.is_cuda()) {
    log_info(concat("training on ", run.comm.size(), " GPU(s), this rank's is ", place.device.str(),
                    ", ", place.name));
  }
  const distributed::TrainResult result =
      distributed::train(train, std::move(model), *source, held_out.get(), comm, observers, where);
  Manifest& manifest = run.manifest;
  manifest.flops = result.flops;
  manifest.flops_total = before.flops_total + result.flops;
  manifest.flops_sunk = before.flops_sunk;
  manifest.tokens = result.tokens;
  manifest.tokens_total = before.tokens_total + result.tokens;
  manifest.notes = before.notes;
  if (!config.model.empty()) {
    manifest.notes["continued_from"] = run.manifest.inputs.front().identity;
    manifest.notes["continued_from_path"] = config.model;
    manifest.notes["start_flops"] = concat(before.flops_total);
  }
  manifest.notes["device"] = place.name;
  manifest.notes["steps"] = std::to_string(result.steps);
  manifest.notes["budget_mismatch"] = concat(result.budget_mismatch);
  for (const auto& [name, loss] : result.held_out) {
    manifest.notes[name] = concat(loss);
  }
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
  set_stage<TrainCommandConfig>(out, plan, estimate, work);
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
