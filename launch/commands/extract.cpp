// growmerge extract: a checkpoint and its base -> a LoRA adapter.
#include "merging/adapter/extract.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/manifest.h"
#include "launch/commands/commands.h"
#include "launch/lineage.h"

namespace growmerge::launch {
namespace {

struct ExtractCommandConfig {
  std::string model;
  std::string base_model;
  merging::ExtractConfig extract;

  void describe(FieldVisitor& v) {
    v("model", model, "", "checkpoint that was trained", v.kInput);
    v("base_model", base_model, "", "checkpoint that it was trained from", v.kInput);
    extract.describe(v);
  }
  void validate() const {
    GM_CHECK(!model.empty() && !base_model.empty(), kInvalidArgument,
             "extract: give both: growmerge extract MODEL BASE");
    extract.validate();
  }
};

StagePlan plan(const ExtractCommandConfig& config) {
  StagePlan out;
  out.stage = "extract";
  out.max_ranks = 1;
  out.inputs.push_back({"model", config.model});
  out.inputs.push_back({"base", config.base_model});
  return out;
}

std::string estimate(const ExtractCommandConfig& config, int ranks) {
  return "adapter   of rank " + std::to_string(config.extract.rank) + " at most\n";
}

void work(const ExtractCommandConfig& config, StageRun& run) {
  const merging::ExtractedAdapter made =
      merging::extract_adapter(config.extract, config.model, config.base_model, run.dir);
  const Lineage before = lineage_of(config.model);
  run.manifest.flops_total = before.flops_total;
  run.manifest.tokens_total = before.tokens_total;
  run.manifest.notes["largest_residual"] = std::to_string(made.largest_residual);
  log_info(concat(made.num_modules, " modules have factors, ", made.num_whole,
                  " tensors are stored whole, ", made.bytes, " bytes; of a difference up to ",
                  made.largest_residual, " is left (relative Frobenius norm)"));
}

}  // namespace

Command extract_command() {
  Command out;
  out.name = "extract";
  out.doc = "checkpoint and its base -> LoRA adapter (PEFT's format), by truncated SVD";
  out.usage = "MODEL BASE [--config FILE] --out DIR";
  set_stage<ExtractCommandConfig>(out, plan, estimate, work);
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    GM_CHECK(paths.empty() || paths.size() == 2, kInvalidArgument,
             "'extract' takes a model and its base, got ", paths.size(), " paths");
    if (!paths.empty()) {
      set_scalar(config, "model", paths[0]);
      set_scalar(config, "base_model", paths[1]);
    }
  };
  return out;
}

}  // namespace growmerge::launch
