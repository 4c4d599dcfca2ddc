// The upscale stage: a model directory in, a wider one out, with its growth certificate.
// HyperCloning is the only method so far, and is called by name; certificate.h and symmetry.h take
// widths to be whole copies.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "core/base/config.h"
#include "core/model/model_config.h"
#include "upscaling/certificate.h"
#include "upscaling/hypercloning.h"

namespace growmerge::upscaling {

struct UpscaleConfig {
  HypercloningConfig growth;
  std::string save_dtype = "float32";
  CertificateConfig certificate;

  void describe(FieldVisitor& v) {
    growth.describe(v);
    v("save_dtype", save_dtype, "", "float32 or bfloat16");
    v("certificate", certificate, "", "how far the grown model may differ from its source");
  }
  /// Errors: kInvalidArgument.
  void validate() const;
};

/// What upscale_checkpoint will do, for --dry-run.
struct UpscalePlan {
  ModelConfig source;
  ModelConfig grown;
  std::int64_t source_parameters = 0;
  std::int64_t grown_parameters = 0;
  std::int64_t output_bytes = 0;       // of the weights
  std::int64_t peak_memory_bytes = 0;  // about, certificate included
};
[[nodiscard]] UpscalePlan plan_upscale(const UpscaleConfig& config,
                                       const std::filesystem::path& source);

struct UpscaleResult {
  ModelConfig config;  // the grown model's
  Certificate certificate;
  /// For Manifest::notes: "grown_from" (the source's identity), "growth.width_factor",
  /// "growth.noise", "growth.snr_db", "growth.seed" and "growth.certificate" ("passed").
  std::map<std::string, std::string> notes;
};

/// Grows the model in `source`, writes it with its companions and certificate.json into `out_dir`
/// (which exists: StageOutput::dir()), reads it back and certifies what was written, on random
/// tokens and on `samples` (token ids of real text; may be empty).
/// Errors: kMismatch when the certificate fails (certificate.json is there to be read); those of
/// load_model and save_model; kInvalidArgument.
UpscaleResult upscale_checkpoint(const UpscaleConfig& config, const std::filesystem::path& source,
                                 const std::filesystem::path& out_dir,
                                 const TokenSequences& samples = {});

}  // namespace growmerge::upscaling
