#include "upscaling/upscale.h"

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/model/model_source.h"
#include "core/store/manifest.h"
#include "core/store/safetensors.h"

namespace growmerge::upscaling {

void UpscaleConfig::validate() const {
  growth.validate();
  certificate.validate();
  GM_CHECK(save_dtype == "float32" || save_dtype == "bfloat16", kInvalidArgument,
           "upscale: save_dtype must be float32 or bfloat16, got '", save_dtype, "'");
}

UpscalePlan plan_upscale(const UpscaleConfig& config, const std::filesystem::path& source) {
  config.validate();
  const CheckpointReader reader = CheckpointReader::open(source);
  UpscalePlan plan;
  plan.source = reader.config();
  plan.grown = grown_config(plan.source, config.growth, "");
  plan.source_parameters = num_parameters(plan.source);
  plan.grown_parameters = num_parameters(plan.grown);
  plan.output_bytes = plan.grown_parameters * (config.save_dtype == "float32" ? 4 : 2);
  plan.peak_memory_bytes = certificate_bytes(plan.source, plan.grown, config.certificate,
                                             parse_dtype(config.save_dtype, "upscale: save_dtype"));
  return plan;
}

UpscaleResult upscale_checkpoint(const UpscaleConfig& config, const std::filesystem::path& source,
                                 const std::filesystem::path& out_dir,
                                 const TokenSequences& samples) {
  config.validate();
  const at::ScalarType dtype = parse_dtype(config.save_dtype, "upscale: save_dtype");
  const std::string identity = path_identity(source);
  const ModelSource small = source_of(source, at::ScalarType::Float);
  // Tensor by tensor: neither model is ever held.
  const ModelSource grown = {
      grown_config(small.config, config.growth, identity), [&](const std::string& name) {
        return grow_tensor(small.config, config.growth, name, small.load(name), dtype);
      }};
  save_model(out_dir, grown, {.dtype = dtype, .companions_from = source});
  log_info(concat("upscale: ", num_parameters(small.config), " -> ", num_parameters(grown.config),
                  " parameters (width x ", config.growth.width_factor, ", noise ",
                  config.growth.noise, ")"));

  // What is certified is what lies on disk, rounding and file included.
  const ModelSource written = source_of(out_dir, dtype);
  TokenSequences sequences = random_sequences(config.certificate, small.config.vocab_size);
  sequences.insert(sequences.end(), samples.begin(), samples.end());
  UpscaleResult result;
  result.config = written.config;
  result.certificate = certify_growth(small, written, config.certificate, sequences);
  write_file_atomically(out_dir / "certificate.json", result.certificate.json());
  // After writing: a certificate that failed is there to be read.
  GM_CHECK(result.certificate.passed(), kMismatch, "upscale: the grown model in ", out_dir.string(),
           " does not compute what its source ", source.string(),
           " computes: ", result.certificate.failure(), "; see certificate.json there");

  const bool noisy = config.growth.noise != "none";
  result.notes = {{"grown_from", identity},
                  {"growth.width_factor", std::to_string(config.growth.width_factor)},
                  {"growth.noise", config.growth.noise},
                  {"growth.snr_db", concat(noisy ? config.growth.snr_db : 0.0)},
                  {"growth.seed", std::to_string(config.growth.seed)},
                  {"growth.certificate", "passed"}};
  return result;
}

}  // namespace growmerge::upscaling
