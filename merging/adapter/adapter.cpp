#include "merging/adapter/adapter.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "core/base/error.h"
#include "core/base/json_text.h"
#include "core/base/simd.h"
#include "core/model/tensor_table.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kWeights = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.";

GM_SIMD void add_scaled(const float* x, float factor, std::int64_t count, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    sum[i] += factor * x[i];
  }
}

/// What adapter_config.json says of the product's scale.
struct Scaling {
  double rank = 0;
  double alpha = 0;
  bool is_by_root = false;                            // use_rslora
  std::vector<std::pair<std::string, double>> ranks;  // patterns, in the file's order
  std::vector<std::pair<std::string, double>> alphas;
};

std::vector<std::pair<std::string, double>> patterns_of(const Json& config, const char* key) {
  std::vector<std::pair<std::string, double>> out;
  if (config.contains(key) && config[key].is_object()) {
    for (const auto& [pattern, value] : config[key].items()) {
      GM_CHECK(value.is_number(), kCorrupt, kConfig, ": ", key, " of '", pattern, "' is no number");
      out.emplace_back(pattern, value.get<double>());
    }
  }
  return out;
}

/// PEFT's rule: the first pattern that is the module's name, or its end behind a dot.
double value_of(const std::vector<std::pair<std::string, double>>& patterns,
                const std::string& module, double otherwise) {
  for (const auto& [pattern, value] : patterns) {
    try {
      if (std::regex_match(module, std::regex("(.*\\.)?(" + pattern + ")"))) {
        return value;
      }
    } catch (const std::regex_error& e) {
      fail(ErrorCode::kCorrupt, kConfig, ": pattern '", pattern,
           "' is no regular expression that is read here: ", e.what());
    }
  }
  return otherwise;
}

bool is_set(const Json& config, const char* key) {
  if (!config.contains(key)) {
    return false;
  }
  const Json& value = config[key];
  return !(value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
           ((value.is_object() || value.is_array()) && value.empty()));
}

void refuse_what_is_not_merged(const Json& config, const fs::path& path) {
  const Json type = config.value("peft_type", Json("LORA"));
  GM_CHECK(type == "LORA", kUnsupported, "'", path.string(), "': peft_type ", type.dump(),
           " is not supported: only LORA is merged");
  struct Refused {
    const char* key;
    const char* name;
  };
  for (const auto& [key, name] :
       {Refused{"use_dora", "DoRA"}, Refused{"layer_replication", "layer replication"},
        Refused{"megatron_config", "Megatron's LoRA"}, Refused{"use_qalora", "QALoRA"},
        Refused{"alora_invocation_tokens", "activated LoRA"},
        Refused{"trainable_token_indices", "trainable tokens"},
        Refused{"target_parameters", "LoRA of parameters"}, Refused{"arrow_config", "Arrow"}}) {
    GM_CHECK(!is_set(config, key), kUnsupported, "'", path.string(), "': ", name, " (", key,
             ") is not supported: merge it with PEFT's merge_and_unload() and name the result");
  }
  // These start from a changed model: the product alone is not the difference.
  if (config.contains("init_lora_weights") && config["init_lora_weights"].is_string()) {
    const auto how = config["init_lora_weights"].get<std::string>();
    for (const char* changing : {"pissa", "olora", "corda", "loftq"}) {
      GM_CHECK(!how.starts_with(changing), kUnsupported, "'", path.string(),
               "': init_lora_weights ", how,
               " is not supported: it changes the model itself; save the adapter with PEFT's "
               "path_initial_model_for_weight_conversion, which makes it a plain one");
    }
  }
}

Scaling read_config(const fs::path& path) {
  const Json config = Json::parse(read_json_text(path), nullptr, /*allow_exceptions=*/false);
  GM_CHECK(config.is_object(), kCorrupt, "'", path.string(), "': not a JSON object");
  refuse_what_is_not_merged(config, path);
  const auto number = [&](const char* key) {
    GM_CHECK(config.contains(key) && config[key].is_number(), kCorrupt, "'", path.string(), "': '",
             key, "' is missing or no number");
    return config[key].get<double>();
  };
  Scaling out;
  out.rank = number("r");
  out.alpha = number("lora_alpha");
  out.is_by_root = is_set(config, "use_rslora");
  out.ranks = patterns_of(config, "rank_pattern");
  out.alphas = patterns_of(config, "alpha_pattern");
  return out;
}

std::vector<float> load_floats(const SafetensorsFile& file, const TensorInfo& info,
                               const fs::path& path) {
  const TileSource source{.bytes = file.bytes(info),
                          .dtype = info.dtype,
                          .label = "tensor '" + info.name + "' of '" + path.string() + "'"};
  std::vector<float> out(static_cast<std::size_t>(info.num_elements()));
  source.load(0, info.num_elements(), out.data());
  return out;
}

std::vector<float> transposed(const std::vector<float>& in, std::int64_t rows,
                              std::int64_t columns) {
  std::vector<float> out(in.size());
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      out[static_cast<std::size_t>(j * rows + i)] = in[static_cast<std::size_t>(i * columns + j)];
    }
  }
  return out;
}

/// The two factors of a module, as the file names them.
struct Factors {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
  bool is_embedding = false;
};

bool cut_suffix(std::string& name, const char* suffix) {
  if (!name.ends_with(suffix)) {
    return false;
  }
  name.resize(name.size() - std::string(suffix).size());
  return true;
}

void erase_part(std::string& name, const std::string& part) {
  if (const std::size_t at = name.find(part); at != std::string::npos) {
    name.erase(at, part.size());
  }
}

LowRank product_of(const Factors& factors, const std::string& module, const Scaling& scaling,
                   const SafetensorsFile& file, const fs::path& path) {
  const TensorInfo& a = *factors.a;
  const TensorInfo& b = *factors.b;
  GM_CHECK(a.shape.size() == 2 && b.shape.size() == 2 && a.shape[0] == b.shape[1], kMismatch, "'",
           path.string(), "': the factors of '", module, "' have shapes ", at::IntArrayRef(a.shape),
           " and ", at::IntArrayRef(b.shape), ", expected [r, n] and [m, r]");
  const double rank = value_of(scaling.ranks, module, scaling.rank);
  GM_CHECK(rank == static_cast<double>(a.shape[0]), kMismatch, "'", path.string(), "': '", module,
           "' has rank ", a.shape[0], ", ", kConfig, " says ", rank);
  const double alpha = value_of(scaling.alphas, module, scaling.alpha);
  LowRank out;
  out.rank = a.shape[0];
  out.scale = static_cast<float>(alpha / (scaling.is_by_root ? std::sqrt(rank) : rank));
  out.a = load_floats(file, a, path);
  out.b = load_floats(file, b, path);
  out.rows = b.shape[0];
  out.columns = a.shape[1];
  if (factors.is_embedding) {  // (B A)^T = A^T B^T
    std::vector<float> first = transposed(out.a, out.rank, out.columns);
    out.a = transposed(out.b, out.rows, out.rank);
    out.b = std::move(first);
    std::swap(out.rows, out.columns);
  }
  return out;
}

/// What the file holds, by the model's names.
struct Parts {
  std::map<std::string, Factors> factors;    // by module
  std::map<std::string, std::string> whole;  // the model's tensor to the file's
};

Parts sort_tensors(const SafetensorsFile& file) {
  Parts out;
  for (const TensorInfo& info : file.tensors()) {
    std::string name = info.name;
    if (name.starts_with(kPrefix)) {
      name.erase(0, std::string(kPrefix).size());
    }
    erase_part(name, ".default");
    GM_CHECK(name.find("lora_magnitude_vector") == std::string::npos, kUnsupported, "'",
             file.path().string(), "': '", info.name, "' is DoRA's, which is not supported");
    if (cut_suffix(name, ".lora_A.weight") || cut_suffix(name, ".lora_A")) {
      out.factors[name].a = &info;
    } else if (cut_suffix(name, ".lora_B.weight") || cut_suffix(name, ".lora_B")) {
      out.factors[name].b = &info;
    } else if (cut_suffix(name, ".lora_embedding_A")) {
      out.factors[name].a = &info;
      out.factors[name].is_embedding = true;
    } else if (cut_suffix(name, ".lora_embedding_B")) {
      out.factors[name].b = &info;
    } else {
      erase_part(name, ".modules_to_save");
      erase_part(name, ".base_layer");
      out.whole.emplace(name, info.name);
    }
  }
  return out;
}

/// PEFT stores a tied head beside the embedding that it is: nothing of its own.
void drop_tied_head(const CheckpointReader& model, const SafetensorsFile& file, Parts& parts) {
  const auto head = parts.whole.find(tensor_name(Role::kHead));
  if (!model.config().tie_word_embeddings || head == parts.whole.end()) {
    return;
  }
  const std::string embedding = tensor_name(Role::kEmbedding);
  const auto stored = parts.whole.find(embedding);
  const std::span<const std::byte> a = file.bytes(file.info(head->second));
  const std::span<const std::byte> b = stored != parts.whole.end()
                                           ? file.bytes(file.info(stored->second))
                                           : model.file(embedding).bytes(model.info(embedding));
  if (std::equal(a.begin(), a.end(), b.begin(), b.end())) {
    parts.whole.erase(head);
  }
}

/// The shapes that the adapter's tensors must have.
class Shapes {
 public:
  Shapes(const CheckpointReader& model, const fs::path& path) : model_(model), path_(path) {
    for (const TensorInfo& info : model.tensors()) {
      shapes_.emplace(info.name, info.shape);
    }
  }
  /// A tensor stored whole; a vocabulary may have grown with the adapter.
  void take_whole(const std::string& tensor, const std::vector<std::int64_t>& shape) {
    check(tensor, shape,
          tensor == tensor_name(Role::kEmbedding) || tensor == tensor_name(Role::kHead));
    shapes_[tensor] = shape;
  }
  [[nodiscard]] const std::vector<std::int64_t>& of(const std::string& tensor) const {
    const auto it = shapes_.find(tensor);
    GM_CHECK(it != shapes_.end(), kMismatch, "'", path_.string(), "' changes '", tensor,
             "', which '", model_.dir().string(), "' does not have",
             model_.config().tie_word_embeddings && tensor == tensor_name(Role::kHead)
                 ? " (its head is tied to the embedding)"
                 : "");
    return it->second;
  }
  void check(const std::string& tensor, const std::vector<std::int64_t>& shape,
             bool may_have_other_rows = false) const {
    std::vector<std::int64_t> expected = of(tensor);
    if (may_have_other_rows && shape.size() == expected.size()) {
      expected[0] = shape[0];
    }
    GM_CHECK(shape == expected, kMismatch, "'", path_.string(), "' has '", tensor, "' of shape ",
             at::IntArrayRef(shape), ", '", model_.dir().string(), "' of ",
             at::IntArrayRef(expected));
  }

 private:
  const CheckpointReader& model_;
  const fs::path& path_;
  std::map<std::string, std::vector<std::int64_t>> shapes_;
};

}  // namespace

void LowRank::add_to(std::int64_t offset, std::int64_t count, float* out) const {
  float product[kBlockElements];
  while (count > 0) {
    const std::int64_t row = offset / columns;
    const std::int64_t column = offset % columns;
    const std::int64_t size = std::min({count, columns - column, kBlockElements});
    std::fill_n(product, size, 0.0F);
    for (std::int64_t k = 0; k < rank; ++k) {
      add_scaled(a.data() + k * columns + column, b[static_cast<std::size_t>(row * rank + k)], size,
                 product);
    }
    add_scaled(product, scale, size, out);
    out += size;
    offset += size;
    count -= size;
  }
}

Adapter Adapter::open(const fs::path& dir, const CheckpointReader& model) {
  GM_CHECK(fs::exists(dir / kConfig), kNotFound, "no '", (dir / kConfig).string(),
           "': expected the directory of a PEFT adapter");
  if (!fs::exists(dir / kWeights)) {
    fail(fs::exists(dir / "adapter_model.bin") ? ErrorCode::kUnsupported : ErrorCode::kNotFound,
         "no '", (dir / kWeights).string(),
         "': save the adapter with safe_serialization=True (.bin files are not read)");
  }
  Adapter out;
  out.dir_ = dir;
  out.file_ = SafetensorsFile::open(dir / kWeights);
  const Scaling scaling = read_config(dir / kConfig);
  const fs::path path = dir / kWeights;
  Parts parts = sort_tensors(*out.file_);
  drop_tied_head(model, *out.file_, parts);
  Shapes shapes(model, path);
  for (const auto& [tensor, stored] : parts.whole) {
    shapes.take_whole(tensor, out.file_->info(stored).shape);
    out.whole_.emplace(tensor, stored);
  }
  for (const auto& [module, pair] : parts.factors) {
    GM_CHECK(pair.a != nullptr && pair.b != nullptr, kCorrupt, "'", path.string(), "': module '",
             module, "' has one factor of two");
    // Patterns are matched with names that are the model's alone.
    (void)shapes.of(module + ".weight");
    LowRank product = product_of(pair, module, scaling, *out.file_, path);
    shapes.check(module + ".weight", {product.rows, product.columns});
    out.products_.emplace(module + ".weight", std::move(product));
  }
  return out;
}

const LowRank* Adapter::find_product(const std::string& tensor) const {
  const auto it = products_.find(tensor);
  return it == products_.end() ? nullptr : &it->second;
}

const TensorInfo* Adapter::find_whole(const std::string& tensor) const {
  const auto it = whole_.find(tensor);
  return it == whole_.end() ? nullptr : &file_->info(it->second);
}

}  // namespace growmerge::merging
