#include "core/base/error.h"
#include "core/model/flops.h"
#include "core/store/hashes.h"
#include "data/prefetch.h"
#include "data/token_stream.h"
#include "launch/commands/train.h"
#include "launch/lineage.h"

namespace growmerge::launch {
namespace {

/// What is not said of the held-out rows is as in the rows that are trained on, so that the two
/// losses can be compared.
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

Model start_model(const TrainCommandConfig& config) {
  if (!config.model.empty()) {
    return load_model(config.model, at::ScalarType::Float);
  }
  const ModelConfig model = make_model_config(config.init);
  return init_model(model, static_cast<std::uint64_t>(config.train.seed));
}

}  // namespace

void TrainCommandConfig::validate() const {
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
  // The budget that `match` stands for needs models that may not be there yet, so that any
  // positive one takes its place here.
  if (match.empty()) {
    train.validate();
  } else {
    distributed::TrainConfig with_budget = train;
    with_budget.budget.flops = 1.0;
    with_budget.validate();
  }
}

std::string start_path(const TrainCommandConfig& config) {
  return config.model.empty() ? config.init.tokenizer : config.model;
}

ModelConfig start_config(const TrainCommandConfig& config) {
  return config.model.empty() ? make_model_config(config.init) : load_model_config(config.model);
}

std::string start_identity(const TrainCommandConfig& config, const std::string& input_identity) {
  if (!config.model.empty()) {
    return input_identity;
  }
  const std::string shape = model_config_json(make_model_config(config.init), "float32");
  return concat(input_identity, " ", hash_bytes(shape.data(), shape.size()));
}

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

PreparedTraining prepare_training(const TrainCommandConfig& config) {
  PreparedTraining out;
  out.train = resolve_budget(config);
  out.model = start_model(config);
  // Shards of another tokenizer would train without an error, on nonsense.
  const data::ModelFit fit{.vocab_size = out.model.config.vocab_size,
                           .tokenizer_hash = tokenizer_hash_of(start_path(config))};
  out.source =
      std::make_unique<data::PrefetchSource>(data::TokenStream::open(config.mixture, fit), 2);
  if (!config.held_out.sources.empty()) {
    out.held_out = data::HeldOutStream::open(held_out_config(config), fit);
  }
  if (!config.model.empty()) {
    out.symmetry = make_growth_observer(out.model.config, config.symmetry);
  }
  return out;
}

}  // namespace growmerge::launch
