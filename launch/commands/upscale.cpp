// growmerge upscale: a checkpoint -> a wider one that computes the same, with its certificate.
#include "upscaling/upscale.h"
#include "core/base/format.h"
#include "core/store/manifest.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/checkpoint.h"
#include "core/transformer/transformer.h"
#include "launch/commands/commands.h"
#include "launch/lineage.h"

namespace growmerge::launch {
namespace {

struct UpscaleCommandConfig {
  std::string model;
  upscaling::UpscaleConfig upscale;

  void describe(FieldVisitor& v) {
    v("model", model, "", "checkpoint to grow", v.kInput);
    upscale.describe(v);
  }
  void validate() const {
    GM_CHECK(!model.empty(), kInvalidArgument, "upscale: no model: growmerge upscale MODEL");
    upscale.validate();
  }
};

StagePlan plan(const UpscaleCommandConfig& config) {
  StagePlan out;
  out.stage = "upscale";
  out.seed = static_cast<std::uint64_t>(config.upscale.growth.seed);
  // Growth copies blocks of one checkpoint: the disk is the limit, not the cores.
  out.max_ranks = 1;
  out.inputs.push_back({"model", config.model});
  return out;
}

StageEstimate estimate(const UpscaleCommandConfig& config, int ranks) {
  const upscaling::UpscalePlan plan = upscaling::plan_upscale(config.upscale, config.model);
  const auto bytes = static_cast<double>(plan.output_bytes);
  return {"model     " + format_count(plan.source_parameters) + " -> " +
              format_count(plan.grown_parameters) + " parameters\n" + "disk      " +
              format_bytes(bytes) + "\nmemory    " +
              format_bytes(kProcessBytes + static_cast<double>(plan.peak_memory_bytes)) + "\n",
          bytes};
}

void work(const UpscaleCommandConfig& config, StageRun& run) {
  const upscaling::UpscaleResult result =
      upscaling::upscale_checkpoint(config.upscale, config.model, run.dir);
  const Lineage before = lineage_of(config.model);
  Manifest& manifest = run.manifest;
  manifest.flops_total = before.flops_total;
  manifest.flops_sunk = before.flops_total;  // all of it was spent before this growth
  manifest.tokens_total = before.tokens_total;
  manifest.notes = result.notes;
  manifest.notes["grown_from_path"] = config.model;
  log_info("growth certificate passed: " + result.certificate.json());
}

}  // namespace

Command upscale_command() {
  Command out;
  out.name = "upscale";
  out.doc = "checkpoint -> larger checkpoint that computes the same, with its growth certificate";
  out.usage = "MODEL [--config FILE] --out DIR";
  set_stage<UpscaleCommandConfig>(out, plan, estimate, work);
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    GM_CHECK(paths.size() <= 1, kInvalidArgument, "'upscale' takes one model, got ", paths.size(),
             " paths");
    if (!paths.empty()) {
      set_scalar(config, "model", paths.front());
    }
  };
  return out;
}

}  // namespace growmerge::launch
