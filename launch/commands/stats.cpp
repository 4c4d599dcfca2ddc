// growmerge stats: what data-aware merging reads, from a model and a corpus, on all ranks.
#include <algorithm>

#include "core/base/error.h"
#include "core/base/format.h"
#include "core/base/log.h"
#include "core/model/checkpoint.h"
#include "core/model/flops.h"
#include "core/transformer/transformer.h"
#include "data/token_stream.h"
#include "launch/commands/commands.h"
#include "launch/lineage.h"
#include "launch/stage_driver.h"
#include "merging/statistics.h"

namespace growmerge::launch {
namespace {

struct StatsCommandConfig {
  std::string model;
  data::MixtureConfig mixture;
  merging::StatisticsConfig statistics;

  void describe(FieldVisitor& v) {
    v("model", model, "", "checkpoint", v.kInput);
    v("mixture", mixture, "", "the corpus: as in train");
    statistics.describe(v);
  }
  void validate() const {
    GM_CHECK(!model.empty(), kInvalidArgument, "stats: no model: growmerge stats MODEL");
    GM_CHECK(!mixture.sources.empty(), kInvalidArgument, "stats: mixture.sources is empty");
    mixture.validate();
    statistics.validate();
  }
};

StagePlan plan(const StatsCommandConfig& config) {
  StagePlan out;
  out.stage = "stats";
  out.seed = static_cast<std::uint64_t>(config.mixture.seed);
  out.inputs.push_back({"model", config.model});
  for (std::size_t i = 0; i < config.mixture.sources.size(); ++i) {
    out.inputs.push_back({concat("data ", i), config.mixture.sources[i].path});
  }
  return out;
}

std::string estimate(const StatsCommandConfig& config, int ranks) {
  const ModelConfig model = load_model_config(config.model);
  const double tokens = static_cast<double>(config.statistics.num_sequences) *
                        static_cast<double>(config.mixture.row_tokens);
  const double bytes = static_cast<double>(num_parameters(model)) * 4.0;
  return "costs     " +
         format_flops(tokens * train_flops_per_token(model, config.mixture.row_tokens,
                                                     FlopConvention::kCausal)) +
         "\ndisk      " + format_bytes(bytes) + "\nmemory    about " +
         format_bytes(kProcessBytes + 3.0 * bytes +
                      static_cast<double>(activation_bytes(model, config.mixture.row_tokens,
                                                           at::ScalarType::Float))) +
         " a rank\n";
}

void work(const StatsCommandConfig& config, StageRun& run) {
  Model model;
  std::unique_ptr<BatchSource> source;
  run_agreed(run.comm, [&] {
    model = load_model(config.model, at::ScalarType::Float);
    source = data::TokenStream::open(
        config.mixture,
        {.vocab_size = model.config.vocab_size, .tokenizer_hash = tokenizer_hash_of(config.model)});
  });
  const merging::Statistics statistics =
      merging::compute_statistics(config.statistics, model, *source, run.comm);
  run_agreed(run.comm, [&] {
    if (run.comm.is_root()) {
      merging::save_statistics(run.dir, statistics,
                               {.model_identity = run.manifest.inputs.front().identity,
                                .corpus_identity = source->identity()});
    }
  });
  run.manifest.tokens = statistics.num_tokens;
  run.manifest.flops =
      static_cast<double>(statistics.num_sequences * config.mixture.row_tokens) *
      train_flops_per_token(model.config, config.mixture.row_tokens, FlopConvention::kCausal);
  run.manifest.notes["model_identity"] = run.manifest.inputs.front().identity;
  run.manifest.notes["sequences"] = std::to_string(statistics.num_sequences);
}

}  // namespace

Command stats_command() {
  Command out;
  out.name = "stats";
  out.doc = "token counts and the diagonal Fisher information, for merging";
  out.usage = "MODEL --config FILE --out DIR";
  set_stage<StatsCommandConfig>(out, plan, estimate, work);
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    GM_CHECK(paths.size() <= 1, kInvalidArgument, "'stats' takes one model, got ", paths.size(),
             " paths");
    if (!paths.empty()) {
      set_scalar(config, "model", paths.front());
    }
  };
  return out;
}

}  // namespace growmerge::launch
