#include "core/model/checkpoint.h"

#include "core/model/model_source.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/format.h"
#include "core/base/json_text.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/model/model_config_keys.h"
#include "core/store/hub_cache.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// Everything beside config and weights that whoever uses the model looks for, by name ...
constexpr const char* kCompanions[] = {
    // Tokenizers: Transformers, vLLM and llama.cpp's converter each prefer another of them.
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "tokenizer.model.v3",
    "spiece.model", "sentencepiece.bpe.model", "tekken.json", "qwen.tiktoken",
    // Defaults of sampling, EOS and padding.
    "generation_config.json",
    // A template in the tokenizer_config.json gives way to these.
    "chat_template.jinja", "chat_template.json"};
// ... templates beside the first one, by folder ...
constexpr const char* kTemplateFolder = "additional_chat_templates";
// ... and by the beginning of the name: code of `trust_remote_code`, licences, which must stay with
// what is made of the weights.
constexpr const char* kCodeNames[] = {"configuration_", "modeling_", "modular_", "tokenization_",
                                      "generation_"};
constexpr const char* kLicenceNames[] = {"LICENSE", "LICENCE", "NOTICE", "USE_POLICY"};

// What SentencePiece writes, under the names that models have given it.
constexpr const char* kSentencePieceNames[] = {"tokenizer.model", "spiece.model",
                                               "sentencepiece.bpe.model", "spm.model"};

bool is_companion(const std::string& name) {
  const auto begins_name = [&name](const char* front) { return name.starts_with(front); };
  return std::find(std::begin(kCompanions), std::end(kCompanions), name) != std::end(kCompanions) ||
         (name.ends_with(".py") &&
          std::any_of(std::begin(kCodeNames), std::end(kCodeNames), begins_name)) ||
         std::any_of(std::begin(kLicenceNames), std::end(kLicenceNames), begins_name);
}

/// A shell command that lets Transformers read a directory and write it again.
std::string convert_command(const char* class_name, const fs::path& dir, const std::string& to) {
  return concat("python3 -c \"from transformers import ", class_name, "; ", class_name,
                ".from_pretrained('", dir.string(), "').save_pretrained('", to, "')\"");
}

[[noreturn]] void refuse_directory_without_safetensors(const fs::path& dir) {
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    const std::string to = without_trailing_slash(dir).string() + "-safetensors";
    GM_CHECK(extension != ".gguf", kUnsupported, "'", entry.path().string(),
             "': GGUF weights are not read: convert them once with Transformers, "
             "AutoModelForCausalLM.from_pretrained(DIR, gguf_file='",
             name, "').save_pretrained('", to, "'), which writes safetensors");
    GM_CHECK(extension != ".bin" && extension != ".pt" && extension != ".pth" &&
                 !name.ends_with(".bin.index.json"),
             kUnsupported, "'", entry.path().string(), "': ", extension,
             " weights are not read (pickles can run code): convert them once with Transformers, "
             "which writes safetensors: ",
             convert_command("AutoModelForCausalLM", dir, to), " && ",
             convert_command("AutoTokenizer", dir, to));
  }
  fail(ErrorCode::kNotFound, "'", dir.string(), "' holds neither ", kWeights, " nor ", kIndex);
}

// Found when training starts, it would be found too late: whoever reads the model needs its tokens.
void refuse_lone_tokenizer_model(const fs::path& dir) {
  for (const char* name : kSentencePieceNames) {
    GM_CHECK(!fs::exists(dir / name) || fs::exists(dir / "tokenizer.json"), kUnsupported, "'",
             (dir / name).string(),
             "': a SentencePiece model alone is not read: convert it once "
             "with Transformers, which writes tokenizer.json: ",
             convert_command("AutoTokenizer", dir, dir.string()));
  }
}

/// Shard file names of an index, in order, with the tensors it says each one holds.
std::vector<std::pair<std::string, std::set<std::string>>> read_index(const fs::path& path) {
  std::vector<std::pair<std::string, std::set<std::string>>> out;
  Json json;
  try {
    json = Json::parse(read_json_text(path));
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorrupt, "'", path.string(), "': not valid JSON: ", e.what());
  }
  const bool has_map = json.is_object() && json.contains("weight_map");
  GM_CHECK(has_map && json["weight_map"].is_object() && !json["weight_map"].empty(), kCorrupt, "'",
           path.string(), "': no map 'weight_map' of tensor names to files");
  // A shard is named by somebody else's file: it must not lead out of the directory.
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    GM_CHECK(file.is_string(), kCorrupt, "'", path.string(), "': weight_map of '", tensor,
             "' is no file name");
    const std::string name = file.get<std::string>();
    GM_CHECK(fs::path(name).filename() == name && name != "." && name != ".." && !name.empty(),
             kCorrupt, "'", path.string(), "': shard name '", name,
             "' points out of the directory");
    auto it = std::find_if(out.begin(), out.end(),
                           [&name](const auto& shard) { return shard.first == name; });
    if (it == out.end()) {
      it = out.insert(out.end(), {name, {}});
    }
    it->second.insert(tensor);
  }
  return out;
}

std::vector<SafetensorsFile> open_weight_files(const fs::path& dir) {
  std::vector<SafetensorsFile> files;
  if (fs::exists(dir / kWeights)) {
    if (fs::exists(dir / kIndex)) {
      log_info(concat("'", dir.string(), "': ", kWeights, " is read, and not the shards of ",
                      kIndex, " beside it (as Transformers does)"));
    }
    files.push_back(SafetensorsFile::open(dir / kWeights));
    return files;
  }
  if (!fs::exists(dir / kIndex)) {
    refuse_directory_without_safetensors(dir);
  }
  // Held against each other in both directions: a shard of another save of the same model has the
  // right name and the wrong numbers, and what it lacks or has too much gives it away.
  for (const auto& [name, tensors] : read_index(dir / kIndex)) {
    files.push_back(SafetensorsFile::open(dir / name));
    for (const std::string& tensor : tensors) {
      GM_CHECK(files.back().contains(tensor), kCorrupt, "'", (dir / kIndex).string(),
               "' says that '", name, "' holds tensor '", tensor, "', but it does not");
    }
    for (const TensorInfo& info : files.back().tensors()) {
      GM_CHECK(tensors.count(info.name) != 0, kCorrupt, "'", (dir / name).string(),
               "' holds tensor '", info.name, "', which the index does not place there");
    }
  }
  return files;
}

/// Buffers that old checkpoints carry and that are computed from the config. Some families have a
/// rotary embedding for each kind of layer (rotary_emb_local).
bool is_derived_buffer(const std::string& name) {
  const bool is_rotary = name.find("rotary_emb") != std::string::npos &&
                         (name.ends_with("inv_freq") || name.ends_with(".cos_cached") ||
                          name.ends_with(".sin_cached"));
  return is_rotary || name.ends_with(".self_attn.bias") || name.ends_with(".masked_bias");
}

bool equal_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// NaN and infinity have all exponent bits set. Branch-free, so that it runs at memory speed.
template <class Bits>
bool bits_finite(const void* data, std::int64_t count, Bits exponent) {
  const auto* values = static_cast<const Bits*>(data);
  std::atomic<bool> finite{true};
  at::parallel_for(0, count, std::int64_t{1} << 16, [&](std::int64_t begin, std::int64_t end) {
    Bits bad = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      bad = static_cast<Bits>(bad | static_cast<Bits>((values[i] & exponent) == exponent));
    }
    if (bad != 0) {
      finite = false;
    }
  });
  return finite;
}

void check_all_finite(const std::string& name, const at::Tensor& tensor, const fs::path& where,
                      const char* doing) {
  GM_CHECK(all_finite(tensor), kCorrupt, doing, " '", where.string(), "': tensor '", name,
           "' holds NaN or infinity");
}

}  // namespace

bool all_finite(const at::Tensor& tensor) {
  if (!tensor.is_floating_point()) {
    return true;
  }
  // By bits and not by isfinite(), which would make a tensor of flags as long as the weights.
  const at::Tensor flat = tensor.cpu().contiguous();
  const void* data = flat.data_ptr();
  switch (flat.scalar_type()) {
    case at::ScalarType::Double:
      return bits_finite<std::uint64_t>(data, flat.numel(), 0x7ff0000000000000ULL);
    case at::ScalarType::Float:
      return bits_finite<std::uint32_t>(data, flat.numel(), 0x7f800000U);
    case at::ScalarType::BFloat16:
      return bits_finite<std::uint16_t>(data, flat.numel(), 0x7f80U);
    case at::ScalarType::Half:
      return bits_finite<std::uint16_t>(data, flat.numel(), 0x7c00U);
    default:
      fail(ErrorCode::kUnsupported, "all_finite: dtype ", c10::toString(flat.scalar_type()));
  }
}

CheckpointReader CheckpointReader::open(const fs::path& dir) {
  CheckpointReader reader;
  reader.dir_ = dir;
  GM_CHECK(fs::exists(dir), kNotFound, "no model directory '", dir.string(), "'",
           fs::exists(dir.string() + ".tmp")
               ? ": the stage that writes it is unfinished, run it again"
               : missing_model_advice(dir.string()));
  GM_CHECK(fs::is_directory(dir), kNotFound, "'", dir.string(),
           "' is no directory: name the Hugging Face model directory, not a file in it");
  reader.config_ = load_model_config(dir);
  refuse_lone_tokenizer_model(dir);
  reader.files_ = open_weight_files(dir);

  // Each tensor of the table must be there once; what is left over at the end must be explained.
  std::unordered_map<std::string, std::size_t> found;
  for (std::size_t f = 0; f < reader.files_.size(); ++f) {
    for (const TensorInfo& info : reader.files_[f].tensors()) {
      GM_CHECK(found.emplace(info.name, f).second, kCorrupt, "'", dir.string(), "': tensor '",
               info.name, "' stands in two shards");
    }
  }
  const std::string context = "'" + dir.string() + "': ";
  for (const auto& [name, shape, place] : model_tensors(reader.config_)) {
    const auto it = found.find(name);
    GM_CHECK(it != found.end(), kMismatch, context, "tensor '", name, "' ", shape_text(shape),
             " is missing",
             place.row->role == Role::kHead ? " (is the head tied? then config.json needs "
                                              "\"tie_word_embeddings\": true)"
                                            : ", config.json asks for it");
    const TensorInfo& info = reader.files_[it->second].info(name);
    GM_CHECK(info.shape == shape, kMismatch, context, "tensor '", name, "' has shape ",
             shape_text(info.shape), ", config.json makes it ", shape_text(shape));
    GM_CHECK(c10::isFloatingType(info.dtype), kUnsupported, context, "tensor '", name, "' is ",
             dtype_name(info.dtype), ": only floating-point weights are read");
    reader.index_.emplace(name, reader.tensors_.size());
    reader.tensors_.push_back(info);
    reader.file_of_.push_back(it->second);
    found.erase(it);
  }
  for (const auto& [name, f] : found) {
    // Derived buffers are computed from config.json, and are left out of what is written.
    if (is_derived_buffer(name)) {
      continue;
    }
    if (name == tensor_name(Role::kHead) && reader.config_.tie_word_embeddings) {
      // Frameworks that save shared tensors twice write it; a copy does no harm, another head does.
      const std::string embedding = tensor_name(Role::kEmbedding);
      const SafetensorsFile& file = reader.files_[f];
      GM_CHECK(equal_bytes(file.bytes(file.info(name)),
                           reader.file(embedding).bytes(reader.info(embedding))),
               kMismatch, context,
               "config.json ties the head to the embedding, but the file holds a different ", name,
               ": set \"tie_word_embeddings\": false, or remove the tensor");
      continue;
    }
    std::vector<std::string> expected;
    for (const TensorInfo& info : reader.tensors_) {
      expected.push_back(info.name);
    }
    const std::string nearest = nearest_name(name, expected);
    fail(ErrorCode::kMismatch, context, "unexpected tensor '", name, "', no part of a ",
         reader.config_.architecture,
         nearest.empty() ? "" : "; the nearest name is '" + nearest + "'");
  }
  return reader;
}

const TensorInfo& CheckpointReader::info(const std::string& name) const {
  const auto it = index_.find(name);
  GM_CHECK(it != index_.end(), kNotFound, "'", dir_.string(), "' has no tensor '", name, "'");
  return tensors_[it->second];
}

const SafetensorsFile& CheckpointReader::file(const std::string& name) const {
  const auto it = index_.find(name);
  GM_CHECK(it != index_.end(), kNotFound, "'", dir_.string(), "' has no tensor '", name, "'");
  return files_[file_of_[it->second]];
}

at::ScalarType CheckpointReader::dtype() const {
  std::map<at::ScalarType, std::int64_t> elements;
  for (const TensorInfo& info : tensors_) {
    elements[info.dtype] += info.num_elements();
  }
  return std::max_element(elements.begin(), elements.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

Model load_model(const fs::path& dir, at::ScalarType dtype) {
  const ModelSource source = source_of(dir, dtype);
  Model model;
  model.config = source.config;
  for (const TensorSpec& tensor : model_tensors(model.config)) {
    model.params.set(tensor.name, source.load(tensor.name));
  }
  return model;
}

ModelSource source_of(const Model& model) {
  return {model.config, [&model](const std::string& name) { return model.params.at(name); }};
}

ModelSource source_of(const fs::path& dir, at::ScalarType dtype) {
  const auto reader = std::make_shared<CheckpointReader>(CheckpointReader::open(dir));
  const std::string warning = config_warning(reader->config().source_json, dir.string());
  if (!warning.empty()) {
    log_warning(warning);
  }
  return {reader->config(), [reader, dir, dtype](const std::string& name) {
            // Checked as stored: a NaN is named in the file, before any arithmetic could have made
            // it.
            const TensorInfo& info = reader->info(name);
            const at::Tensor stored = reader->load(name);
            reader->file(name).drop(info);
            check_all_finite(name, stored, dir, "loading");
            at::Tensor tensor = stored.to(dtype);
            if (dtype != info.dtype) {  // a value beyond the new dtype's range becomes infinity
              check_all_finite(name, tensor, dir,
                               concat("converting to ", dtype_name(dtype), ":").c_str());
            }
            return tensor;
          }};
}

WeightFiles plan_weight_files(const ModelConfig& config, at::ScalarType dtype,
                              std::uint64_t shard_bytes) {
  return plan_weight_files(
      config, [dtype](const std::string&) { return dtype; }, shard_bytes);
}

WeightFiles plan_weight_files(const ModelConfig& config,
                              const std::function<at::ScalarType(const std::string&)>& dtype_of,
                              std::uint64_t shard_bytes) {
  WeightFiles out;
  std::uint64_t filled = 0;
  std::uint64_t total = 0;
  for (const TensorSpec& tensor : model_tensors(config)) {
    const at::ScalarType dtype = dtype_of(tensor.name);
    const std::uint64_t bytes =
        c10::elementSize(dtype) * static_cast<std::uint64_t>(tensor.num_elements());
    // In the order of the table, so that a reader that goes through the model reads shard by shard.
    if (out.entries.empty() || (filled > 0 && filled + bytes > shard_bytes)) {
      out.entries.emplace_back();
      filled = 0;
    }
    out.entries.back().push_back({tensor.name, dtype, tensor.shape});
    filled += bytes;
    total += bytes;
  }
  // Transformers writes one file without an index, and finds it first.
  if (out.entries.size() == 1) {
    out.names = {kWeights};
    return out;
  }
  Json map = Json::object();
  for (std::size_t i = 0; i < out.entries.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1,
                  out.entries.size());
    out.names.emplace_back(name);
    for (const SafetensorsWriter::Entry& entry : out.entries[i]) {
      map[entry.name] = name;
    }
  }
  out.index_json = Json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}.dump(2) + "\n";
  return out;
}

void save_model(const fs::path& dir, const Model& model, const SaveOptions& options) {
  model.config.validate();
  const std::vector<TensorSpec> layout = model_tensors(model.config);
  GM_CHECK(model.params.size() == layout.size(), kMismatch, "saving '", dir.string(),
           "': ", model.params.size(), " tensors, the config makes ", layout.size());
  for (const auto& [name, shape, place] : layout) {
    const at::Tensor& tensor = model.params.at(name);
    GM_CHECK(tensor.sizes() == at::IntArrayRef(shape), kMismatch, "saving '", dir.string(),
             "': tensor '", name, "' has shape ", tensor.sizes(), ", the config makes it ",
             shape_text(shape));
    // What is written is checked, not what is held: rounding to float16 may overflow.
    check_all_finite(name, tensor.to(options.dtype), dir, "saving");
  }
  // All is checked: from here on only the disk can refuse.
  save_model(dir, source_of(model), options);
}

void save_model(const fs::path& dir, const ModelSource& model, const SaveOptions& options) {
  const WeightFiles files = plan_weight_files(model.config, options.dtype, options.shard_bytes);
  for (std::size_t i = 0; i < files.names.size(); ++i) {
    SafetensorsWriter writer(dir / files.names[i], files.entries[i], {{"format", "pt"}});
    for (const SafetensorsWriter::Entry& entry : files.entries[i]) {
      const at::Tensor tensor = model.load(entry.name).to(options.dtype);
      check_all_finite(entry.name, tensor, dir, "saving");
      writer.write(entry.name, tensor);
    }
    writer.finish();
  }
  if (!files.index_json.empty()) {
    write_file_atomically(dir / kIndex, files.index_json);
  }
  write_file_atomically(dir / "config.json",
                        model_config_json(model.config, dtype_name(options.dtype)));
  if (!options.companions_from.empty()) {
    copy_companions(options.companions_from, dir);
  }
}

std::vector<std::string> copy_companions(const fs::path& from, const fs::path& to) {
  // Sorted: a directory's own order is the file system's.
  std::set<std::string> names;
  for (const fs::path& name : {fs::path(), fs::path(kTemplateFolder)}) {
    if (!fs::is_directory(from / name)) {
      continue;
    }
    for (const auto& entry : fs::directory_iterator(from / name)) {
      const fs::path file = entry.path().filename();
      const bool is_wanted =
          name.empty() ? is_companion(file.string()) : file.extension() == ".jinja";
      if (entry.is_regular_file() && is_wanted) {
        names.insert((name / file).string());
      }
    }
  }
  for (const std::string& name : names) {
    fs::create_directories((to / name).parent_path());
    write_file_atomically(to / name, read_file(from / name));
  }
  return {names.begin(), names.end()};
}

Model init_model(const ModelConfig& config, std::uint64_t seed) {
  config.validate();
  Model model;
  model.config = config;
  for (const auto& [name, shape, place] : model_tensors(config)) {
    const Initial initial = initial_values(config, *place.row);
    if (initial != Initial::kNormal) {
      const double value = initial == Initial::kOnes ? 1.0 : 0.0;
      model.params.set(name, at::full(shape, value, at::TensorOptions().dtype(at::kFloat)));
      continue;
    }
    at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
    float* out = tensor.data_ptr<float>();
    // A stream per name and a number per place: neither threads nor other tensors change a value.
    const Philox random(seed, stream_id("init/" + name));
    at::parallel_for(0, tensor.numel(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        out[i] = static_cast<float>(config.initializer_range *
                                    random.normal(static_cast<std::uint64_t>(i)));
      }
    });
    model.params.set(name, std::move(tensor));
  }
  return model;
}

}  // namespace growmerge
