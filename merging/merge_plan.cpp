#include <ATen/Parallel.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "core/base/error.h"
#include "core/model/model_config_keys.h"
#include "core/store/hashes.h"
#include "merging/common_parameters.h"
#include "merging/merge.h"
#include "merging/merge_task.h"
#include "merging/output_config.h"
#include "merging/vocabulary/token_table.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFisherFile = "fisher.safetensors";

/// What is wrong with `base_dir` as the base of a model; empty where nothing is, or where nothing
/// says where the model came from.
std::string lineage_warning(const fs::path& model_dir, const fs::path& base_dir) {
  const auto manifest = read_manifest(model_dir);
  if (!manifest) {
    return "";
  }
  const std::string base = path_identity(base_dir);
  const auto note = manifest->notes.find("continued_from");
  const bool from_note = note != manifest->notes.end() && note->second == base;
  const bool from_input =
      std::any_of(manifest->inputs.begin(), manifest->inputs.end(),
                  [&base](const InputRecord& input) { return input.identity == base; });
  if (from_note || from_input) {
    return "";
  }
  return concat("base_model '", base_dir.string(), "' (", base.substr(0, 12),
                ") IS NOT the "
                "checkpoint that '",
                model_dir.string(), "' continued from",
                note == manifest->notes.end() ? "" : " (" + note->second.substr(0, 12) + ")",
                ": its difference from this base is no training update, and the merge is likely "
                "bad. Name the checkpoint it was trained from as base_model");
}

/// The models' deltas mean something only against the checkpoint they continued from.
void check_lineage(MergePlan& plan) {
  std::set<std::pair<std::size_t, std::size_t>> seen;  // model, base
  for (const RecipeSlice& slice : plan.recipe.slices) {
    for (const RecipeSource& source : slice.sources) {
      if (!slice.base || !seen.emplace(source.model, slice.base->model).second) {
        continue;
      }
      std::string warning =
          lineage_warning(plan.models[source.model].dir(), plan.bases[slice.base->model].dir());
      if (!warning.empty()) {
        plan.warnings.push_back(std::move(warning));
      }
    }
  }
}

/// Rows are merged by number where the recipe has no tokenizer_source: they must be the same
/// tokens'. Files may differ in what decides no id.
void check_tokenizers(MergePlan& plan) {
  const fs::path own = plan.companions_from / "tokenizer.json";
  if (plan.vocabulary || !fs::exists(own)) {
    return;
  }
  const auto table_of = [](const fs::path& file) -> std::optional<TokenTable> {
    try {
      return read_token_table(file);
    } catch (const Error&) {
      return std::nullopt;  // not a tokenizer that says what its ids are
    }
  };
  const std::string hash = hash_file(own);
  for (const auto* list : {&plan.models, &plan.bases}) {
    for (const SourceModel& model : *list) {
      const fs::path other = model.dir() / "tokenizer.json";
      if (!fs::exists(other) || hash_file(other) == hash) {
        continue;
      }
      const auto a = table_of(own);
      const auto b = table_of(other);
      const std::string conflict = a && b ? first_conflict(*a, *b, plan.config.vocab_size) : "";
      GM_CHECK(conflict.empty(), kMismatch, "'", own.string(), "' and '", other.string(),
               "' have different vocabularies: ", conflict,
               ": merged by number, rows of different tokens would be mixed. Give "
               "tokenizer_source: union, base, or a model, which matches rows by token");
      plan.warnings.push_back(concat("'", other.string(), "' differs from '", own.string(),
                                     "', which is carried along: if the vocabularies differ, the "
                                     "embeddings cannot be merged"));
    }
  }
}

/// Statistics of another model, even of the same shape, would weigh at random.
void open_statistics(MergePlan& plan) {
  GM_CHECK(plan.recipe.slices.size() == 1, kUnsupported, "method ", plan.recipe.method->name,
           " with ", plan.recipe.slices.size(),
           " slices is not supported: a model's statistics are weighed over the whole model");
  for (std::size_t m = 0; m < plan.models.size(); ++m) {
    const fs::path given = plan.recipe.models[m].statistics;
    const fs::path file = fs::is_directory(given) ? given / kFisherFile : given;
    GM_CHECK(fs::exists(file), kNotFound, "no '", file.string(),
             "': expected what `growmerge stats` writes");
    SafetensorsFile statistics = SafetensorsFile::open(file);
    const auto hash = statistics.metadata().find("model_identity");
    GM_CHECK(hash != statistics.metadata().end(), kCorrupt, "'", file.string(),
             "' has no metadata 'model_identity': it was not written by `growmerge stats`");
    const std::string identity = path_identity(plan.models[m].dir());
    GM_CHECK(hash->second == identity, kMismatch, "'", file.string(),
             "' holds statistics of model ", hash->second, ", but '", plan.models[m].dir().string(),
             "' is ", identity, ": run `growmerge stats` on this model");
    for (const TensorInfo& info : plan.models[m].tensors()) {
      GM_CHECK(statistics.contains(info.name) && statistics.info(info.name).shape == info.shape,
               kMismatch, "'", file.string(), "' has no tensor '", info.name, "' of shape ",
               at::IntArrayRef(info.shape));
      GM_CHECK(c10::isFloatingType(statistics.info(info.name).dtype), kCorrupt, "'", file.string(),
               "': tensor '", info.name, "' is no floating-point tensor");
      plan.bytes_read += statistics.info(info.name).num_bytes();
    }
    plan.statistics.push_back(std::move(statistics));
  }
}

/// Opens models and bases, and counts what will be read of them.
void open_models(MergePlan& plan) {
  for (const RecipeModel& model : plan.recipe.models) {
    GM_CHECK(model.adapter.empty() || model.statistics.empty(), kUnsupported, "'", model.text(),
             "': statistics of a model with an adapter are not supported: merge the adapter first, "
             "and run `growmerge stats` on the result");
    plan.models.push_back(SourceModel::open(model));
  }
  for (const ModelReference& base : plan.recipe.bases) {
    plan.bases.push_back(SourceModel::open(base));
  }
  for (const auto* list : {&plan.models, &plan.bases}) {
    for (const SourceModel& model : *list) {
      for (const TensorInfo& info : model.tensors()) {
        plan.bytes_read += info.num_bytes();
      }
    }
  }
}

/// Brings all to one vocabulary, where the recipe says which.
void take_vocabulary(MergePlan& plan) {
  if (!plan.recipe.tokenizer) {
    return;
  }
  std::vector<VocabularyModel> models;
  std::size_t base = 0;
  for (const auto* list : {&plan.models, &plan.bases}) {
    for (const SourceModel& model : *list) {
      base = &model == &plan.leader() ? models.size() : base;
      models.push_back({model.reference(), model.config().vocab_size});
    }
  }
  plan.vocabulary = plan_vocabulary(*plan.recipe.tokenizer, models, base);
  plan.warnings.insert(plan.warnings.end(), plan.vocabulary->warnings.begin(),
                       plan.vocabulary->warnings.end());
}

/// Where the leader has no tokenizer, the first model that has one gives it.
void choose_companions(MergePlan& plan) {
  plan.companions_from = plan.leader().dir();
  for (const SourceModel& model : plan.models) {
    if (!fs::exists(plan.companions_from / "tokenizer.json")) {
      plan.companions_from = model.dir();
    }
  }
}

/// The engine's own, tiles on all threads, and what the method keeps of the largest tensor.
std::uint64_t memory_needed(const MergePlan& plan) {
  const auto threads = static_cast<std::uint64_t>(at::get_num_threads());
  const std::uint64_t num_models = plan.models.size();
  std::int64_t largest = 0;
  for (const OutputTensor& tensor : plan.tensors) {
    largest = std::max(largest, tensor.spec.num_elements());
  }
  const double kept = plan.recipe.method->memory_per_element * static_cast<double>(num_models) *
                      static_cast<double>(largest);
  std::uint64_t out =
      20'000'000 + threads * (num_models + 5) * 40'000 + static_cast<std::uint64_t>(kept);
  if (plan.vocabulary) {  // a row's origin, in each model
    out += (num_models + plan.bases.size()) * static_cast<std::uint64_t>(plan.config.vocab_size) *
           sizeof(RowMap::Row);
  }
  return out;
}

bool has_parameter(const Method& method, const Parameter& parameter) {
  return std::any_of(method.parameters.begin(), method.parameters.end(),
                     [&](const Parameter& p) { return std::string(p.name) == parameter.name; });
}

/// Parameters are looked up once for every tensor, so that a missing one shows now, and weights
/// that a method will divide by 0.
void check_parameters(const MergePlan& plan) {
  const Method& method = *plan.recipe.method;
  const std::vector<double> no_values(plan.models.size(), 0.0);
  const bool divides = method.needs.base == BaseUse::kNone && has_parameter(method, kWeight) &&
                       has_parameter(method, kNormalize);
  for (const OutputTensor& tensor : plan.tensors) {
    const TensorTask task = make_task(plan, tensor, no_values);
    if (!divides || !task.arguments.flag(kNormalize)) {
      continue;
    }
    float sum = 0.0F;  // as the method adds them
    for (const float weight : task.of_models(kWeight)) {
      sum += weight;
    }
    GM_CHECK(sum != 0.0F, kInvalidArgument, "method ", method.name, ": the weights of tensor '",
             task.name,
             "' sum to 0 and normalize divides by that: change a weight, or set "
             "normalize: false");
  }
}

double gigabytes(std::uint64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

}  // namespace

const SourceModel& MergePlan::leader() const {
  if (recipe.leader) {
    for (const auto* list : {&bases, &models}) {
      for (const SourceModel& model : *list) {
        if (same_model(model.reference(), *recipe.leader)) {
          return model;
        }
      }
    }
  }
  return bases.empty() ? models.front() : bases.front();
}

std::string MergePlan::describe() const {
  std::ostringstream out;
  out.precision(3);
  out << "merge by " << recipe.method->name << " (" << recipe.method->doc << ")\n";
  for (const SourceModel& base : bases) {
    out << "  base    " << base.name() << " (" << dtype_name(base.checkpoint().dtype()) << ")\n";
  }
  for (std::size_t m = 0; m < models.size(); ++m) {
    out << "  model   " << models[m].name() << " (" << dtype_name(models[m].checkpoint().dtype())
        << ")";
    if (!statistics.empty()) {
      out << ", statistics " << statistics[m].path().string();
    }
    out << "\n";
  }
  if (recipe.slices.front().num_layers) {
    out << "  layers  " << config.num_layers << " in " << recipe.slices.size() << " slices\n";
  }
  if (vocabulary) {
    out << "  tokens  " << vocabulary->summary << "\n";
  }
  out << "  output  " << num_parameters(config) << " parameters in " << dtype_name(out_dtype)
      << ", " << gigabytes(bytes_written) << " GB\n"
      << "  reads " << gigabytes(bytes_read) << " GB, needs about " << gigabytes(memory_bytes)
      << " GB of memory beside mapped files\n";
  for (const std::string& note : recipe.notes) {
    out << "  note    " << note << "\n";
  }
  for (const std::string& warning : warnings) {
    out << "  WARNING " << warning << "\n";
  }
  return out.str();
}

MergePlan plan_merge(Recipe recipe) {
  MergePlan plan;
  plan.recipe = std::move(recipe);
  open_models(plan);
  take_vocabulary(plan);
  plan.config = output_config(plan);
  plan.out_dtype = plan.leader().checkpoint().dtype();
  if (plan.recipe.out_dtype || plan.recipe.dtype) {
    plan.out_dtype =
        parse_dtype(plan.recipe.out_dtype.value_or(plan.recipe.dtype.value_or("")), "dtype");
  }
  plan.shard_bytes = plan.recipe.shard_bytes.value_or(plan.shard_bytes);
  plan.tensors = output_tensors(plan);
  for (const OutputTensor& tensor : plan.tensors) {
    plan.bytes_written +=
        static_cast<std::uint64_t>(tensor.spec.num_elements()) * c10::elementSize(tensor.dtype);
  }
  choose_companions(plan);
  if (plan.recipe.method->needs.fisher) {
    open_statistics(plan);
  }
  plan.memory_bytes = memory_needed(plan);
  check_parameters(plan);
  for (const SourceModel& model : plan.models) {
    std::string warning = config_warning(model.config().source_json, model.dir().string());
    if (!warning.empty()) {
      plan.warnings.push_back(std::move(warning));
    }
  }
  const std::size_t before = plan.warnings.size();
  check_lineage(plan);
  GM_CHECK(!plan.recipe.is_strict || plan.warnings.size() == before, kMismatch,
           plan.warnings.empty() ? "" : plan.warnings.back(), " (refused, because strict: true)");
  check_tokenizers(plan);
  return plan;
}

MergePlan plan_merge(const fs::path& recipe, std::span<const std::string> overrides) {
  return plan_merge(load_recipe(recipe, overrides));
}

}  // namespace growmerge::merging
