#include "merging/adapter/extract.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_svd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/model/checkpoint.h"
#include "core/store/safetensors.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kPrefix = "base_model.model.";

struct Factored {
  at::Tensor a;  // [r, n]
  at::Tensor b;  // [m, r]
  double residual = 0.0;
};

/// How many singular values (descending) make up the share, in [1, most].
std::int64_t rank_of(const at::Tensor& values, double energy, std::int64_t most) {
  const double* s = values.data_ptr<double>();
  const std::int64_t n = values.numel();
  double total = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    total += s[i] * s[i];
  }
  double kept = 0.0;
  std::int64_t rank = 0;
  while (rank < std::min(most, n) && (rank == 0 || kept < energy * total)) {
    kept += s[rank] * s[rank];
    ++rank;
  }
  return rank;
}

Factored factorize(const at::Tensor& delta, const ExtractConfig& config) {
  const auto [u, s, vt] = at::linalg_svd(delta, /*full_matrices=*/false);
  const at::Tensor values = s.contiguous();
  const std::int64_t rank = rank_of(values, config.energy, config.rank);
  const at::Tensor root = values.narrow(0, 0, rank).sqrt();
  Factored out;
  out.a = root.unsqueeze(1) * vt.narrow(0, 0, rank);
  out.b = u.narrow(1, 0, rank) * root;
  const double norm = delta.norm().item<double>();
  const double left = values.narrow(0, rank, values.numel() - rank).norm().item<double>();
  out.residual = norm > 0.0 ? left / norm : 0.0;
  return out;
}

/// "model.layers.0.self_attn.q_proj" of "model.layers.0.self_attn.q_proj.weight".
std::string module_of(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

at::Tensor load(const CheckpointReader& reader, const std::string& name) {
  at::Tensor out = reader.load(name);
  GM_CHECK(all_finite(out), kCorrupt, "tensor '", name, "' of '", reader.dir().string(),
           "' holds NaN or infinity");
  return out.to(at::kDouble);
}

/// What the adapter holds, while it is found.
struct Parts {
  ParamMap tensors;
  std::set<std::string> targets;
  std::set<std::string> saved;
  Json ranks = Json::object();  // of modules, where they differ from the config's
};

void add_factors(const std::string& module, const Factored& factored, const ExtractConfig& config,
                 at::ScalarType dtype, Parts& parts) {
  parts.tensors.set(kPrefix + module + ".lora_A.weight", factored.a.to(dtype).contiguous());
  parts.tensors.set(kPrefix + module + ".lora_B.weight", factored.b.to(dtype).contiguous());
  parts.targets.insert(last_part(module));
  if (factored.a.size(0) != config.rank) {
    parts.ranks[module] = factored.a.size(0);
  }
}

Json adapter_config(const ExtractConfig& config, const Parts& parts, const fs::path& base) {
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base.string()},
          {"inference_mode", true},
          {"r", config.rank},
          {"lora_alpha", config.rank},
          {"lora_dropout", 0.0},
          {"bias", "none"},
          {"use_rslora", false},
          {"use_dora", false},
          {"fan_in_fan_out", false},
          {"init_lora_weights", true},
          {"target_modules", parts.targets},
          {"modules_to_save", parts.saved.empty() ? Json() : Json(parts.saved)},
          {"rank_pattern", parts.ranks},
          {"alpha_pattern", parts.ranks}};  // alpha = r: the factors as they are
}

}  // namespace

void ExtractConfig::validate() const {
  GM_CHECK(rank > 0, kInvalidArgument, "rank ", rank, " must be 1 or more");
  GM_CHECK(energy > 0.0 && energy <= 1.0, kInvalidArgument, "energy ", energy,
           " must be a share in (0, 1]");
  (void)parse_dtype(dtype, "dtype");
}

ExtractedAdapter extract_adapter(const ExtractConfig& config, const fs::path& model,
                                 const fs::path& base, const fs::path& dir) {
  config.validate();
  const CheckpointReader to = CheckpointReader::open(model);
  const CheckpointReader from = CheckpointReader::open(base);
  const auto difference = first_difference(from.config(), to.config());
  GM_CHECK(!difference, kMismatch, "'", base.string(), "' has ", difference->key, " ",
           difference->first, ", '", model.string(), "' has ", difference->second,
           ": an adapter keeps the shape of its base");
  const at::ScalarType dtype = parse_dtype(config.dtype, "dtype");
  ExtractedAdapter out;
  Parts parts;
  for (const TensorSpec& spec : model_tensors(from.config())) {
    const at::Tensor delta = load(to, spec.name) - load(from, spec.name);
    const bool differs = delta.abs().max().item<double>() > 0.0;
    if (spec.place.row->kind == TensorKind::kMatrix) {
      const Factored factored = factorize(delta, config);
      add_factors(module_of(spec.name), factored, config, dtype, parts);
      out.largest_residual = std::max(out.largest_residual, factored.residual);
      ++out.num_modules;
    } else if (differs) {
      GM_CHECK(spec.place.row->kind != TensorKind::kBias, kUnsupported, "'", model.string(),
               "' differs from its base in the bias '", spec.name,
               "', for which LoRA has no place: keep the merged model");
      parts.tensors.set(kPrefix + spec.name, to.load(spec.name).to(dtype).contiguous());
      // By the end of the name, as PEFT finds modules: "norm" alone is the end of all norms.
      const std::string module = module_of(spec.name);
      parts.saved.insert(spec.place.layer ? last_part(module) : module);
      ++out.num_whole;
    }
  }
  save_safetensors(dir / "adapter_model.safetensors", parts.tensors, {{"format", "pt"}});
  write_file_atomically(dir / "adapter_config.json",
                        adapter_config(config, parts, base).dump(2) + "\n");
  out.bytes = fs::file_size(dir / "adapter_model.safetensors");
  return out;
}

}  // namespace growmerge::merging
