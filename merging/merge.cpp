#include "merging/merge.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <mutex>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/model/model_config_keys.h"
#include "core/store/hashes.h"
#include "merging/input_hashes.h"
#include "merging/ledger.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFisherFile = "fisher.safetensors";
constexpr std::int64_t kSmallTensor = std::int64_t{2} << 20;     // elements
constexpr std::int64_t kGroupElements = std::int64_t{32} << 20;  // of small tensors together

/// The numbers that decide what a model computes must be the same, or the merge means nothing.
void check_same_architecture(const ModelConfig& a, const ModelConfig& b, const std::string& a_name,
                             const std::string& b_name) {
  const std::optional<ConfigDifference> difference = first_difference(a, b);
  GM_CHECK(!difference, kMismatch, "'", a_name, "' has ", difference->key, " ", difference->first,
           ", '", b_name, "' has ", difference->second, ": only models of one shape can be merged");
}

/// The models' deltas mean something only against the checkpoint they continued from.
void check_lineage(MergePlan& plan) {
  if (!plan.base) {
    return;
  }
  std::string base;
  for (const CheckpointReader& model : plan.models) {
    const auto manifest = read_manifest(model.dir());
    if (!manifest) {
      continue;  // an outside model: nothing says where it came from
    }
    if (base.empty()) {
      base = path_identity(plan.base->dir());
    }
    const auto note = manifest->notes.find("continued_from");
    const bool from_note = note != manifest->notes.end() && note->second == base;
    const bool from_input =
        std::any_of(manifest->inputs.begin(), manifest->inputs.end(),
                    [&base](const InputRecord& input) { return input.identity == base; });
    if (!from_note && !from_input) {
      plan.warnings.push_back(concat(
          "base_model '", plan.base->dir().string(), "' (", base.substr(0, 12),
          ") IS NOT the "
          "checkpoint that '",
          model.dir().string(), "' continued from",
          note == manifest->notes.end() ? "" : " (" + note->second.substr(0, 12) + ")",
          ": its difference from this base is no training update, and the merge is likely bad. "
          "Name the checkpoint it was trained from as base_model"));
    }
  }
}

/// A warning, not an error: files may differ in what decides no id.
void check_tokenizers(MergePlan& plan) {
  const fs::path own = plan.companions_from / "tokenizer.json";
  if (!fs::exists(own)) {
    return;
  }
  const std::string hash = hash_file(own);
  for (const CheckpointReader& model : plan.models) {
    const fs::path other = model.dir() / "tokenizer.json";
    if (fs::exists(other) && hash_file(other) != hash) {
      plan.warnings.push_back(concat("'", other.string(), "' differs from '", own.string(),
                                     "', which is carried along: if the vocabularies differ, the "
                                     "embeddings cannot be merged"));
    }
  }
}

/// Statistics of another model, even of the same shape, would weigh at random.
void open_statistics(MergePlan& plan) {
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

std::string label_of(const std::string& tensor, const fs::path& where) {
  return "tensor '" + tensor + "' of '" + where.string() + "'";
}

TileSource source_of(const SafetensorsFile& file, const std::string& tensor,
                     const fs::path& where) {
  const TensorInfo& info = file.info(tensor);
  return {.bytes = file.bytes(info), .dtype = info.dtype, .label = label_of(tensor, where)};
}

/// What the task of a tensor holds beside its inputs and its output.
TensorTask task_without_inputs(const MergePlan& plan, const TensorInfo& info) {
  const double depth = tensor_depth(info.name, plan.config.num_layers);
  TensorTask task;
  task.name = info.name;
  task.num_elements = info.num_elements();
  task.seed = plan.recipe.random_seed;
  for (const Parameter& parameter : plan.recipe.method->parameters) {
    if (!parameter.is_idle && parameter.scope == Parameter::Scope::kTensor) {
      task.arguments.set(
          parameter, plan.recipe.parameter(parameter.name, parameter.fallback, info.name, depth));
    }
  }
  if (plan.base) {
    task.base = source_of(plan.base->file(info.name), info.name, plan.base->dir());
  }
  return task;
}

TensorTask::Input make_input(const MergePlan& plan, std::size_t m, const std::string& tensor) {
  const double depth = tensor_depth(tensor, plan.config.num_layers);
  TensorTask::Input input;
  input.weights = source_of(plan.models[m].file(tensor), tensor, plan.models[m].dir());
  for (const Parameter& parameter : plan.recipe.method->parameters) {
    if (!parameter.is_idle && parameter.scope == Parameter::Scope::kModel) {
      input.arguments.set(parameter, plan.recipe.model_parameter(
                                         m, parameter.name, parameter.fallback, tensor, depth));
    }
  }
  if (!plan.statistics.empty()) {
    input.fisher = source_of(plan.statistics[m], tensor, plan.statistics[m].path());
  }
  return input;
}

/// The task of a tensor but for its output. `model_values` as model_values_of() returns them.
TensorTask make_task(const MergePlan& plan, const TensorInfo& info,
                     const std::vector<double>& model_values) {
  TensorTask task = task_without_inputs(plan, info);
  for (std::size_t m = 0; m < plan.models.size(); ++m) {
    task.inputs.push_back(make_input(plan, m, info.name));
    task.inputs.back().model_value = model_values[m];
  }
  return task;
}

/// The tensors of one output file in the order in which the first model's files hold them, so that
/// inputs are read from front to back.
std::vector<const SafetensorsWriter::Entry*> in_reading_order(
    const std::vector<SafetensorsWriter::Entry>& entries, const CheckpointReader& model) {
  std::vector<const SafetensorsWriter::Entry*> out;
  for (const SafetensorsWriter::Entry& entry : entries) {
    out.push_back(&entry);
  }
  std::sort(out.begin(), out.end(), [&model](const auto* a, const auto* b) {
    const auto place = [&model](const SafetensorsWriter::Entry& entry) {
      return std::pair(model.file(entry.name).path(), model.info(entry.name).begin);
    };
    return place(*a) < place(*b);
  });
  return out;
}

/// Where the tensors end that are merged at the same time from `first` on: a large one alone, on
/// all threads; small ones together, each on one thread, because waking and joining threads for
/// each takes as long as its arithmetic.
std::size_t end_of_group(const std::vector<const SafetensorsWriter::Entry*>& entries,
                         std::size_t first, const CheckpointReader& model) {
  std::int64_t elements = 0;
  std::size_t end = first;
  while (end < entries.size()) {
    const std::int64_t n = model.info(entries[end]->name).num_elements();
    if (n > kSmallTensor || elements + n > kGroupElements) {
      break;
    }
    elements += n;
    ++end;
  }
  return std::max(end, first + 1);
}

/// Tells the kernel that this mapping's pages of a tensor may go; they stay in its cache.
void drop_inputs(const MergePlan& plan, const std::string& tensor) {
  const auto drop = [&tensor](const SafetensorsFile& file) { file.drop(file.info(tensor)); };
  if (plan.base) {
    drop(plan.base->file(tensor));
  }
  for (const CheckpointReader& model : plan.models) {
    drop(model.file(tensor));
  }
  for (const SafetensorsFile& statistics : plan.statistics) {
    drop(statistics);
  }
}

/// What the method must know of each model before the first tensor; zeros where that is nothing.
std::vector<double> model_values_of(const MergePlan& plan) {
  std::vector<double> out(plan.models.size(), 0.0);
  if (plan.recipe.method->model_pass == nullptr) {
    return out;
  }
  for (std::size_t m = 0; m < plan.models.size(); ++m) {
    out[m] = plan.recipe.method->model_pass([&plan, m](const auto& visit) {
      for (const TensorInfo& info : plan.models[m].tensors()) {
        TensorTask task = task_without_inputs(plan, info);
        task.inputs.push_back(make_input(plan, m, info.name));
        visit(task);
        drop_inputs(plan, info.name);
      }
    });
  }
  return out;
}

/// The input that the output's layout, config and dtype are taken from: the base, or where there is
/// none the first model.
const CheckpointReader& layout_of(const MergePlan& plan) {
  return plan.base ? *plan.base : plan.models.front();
}

/// Opens models and base, and counts what will be read of them.
void open_models(MergePlan& plan) {
  for (const RecipeModel& model : plan.recipe.models) {
    plan.models.push_back(CheckpointReader::open(model.path));
  }
  if (!plan.recipe.base.empty()) {
    plan.base = std::make_unique<CheckpointReader>(CheckpointReader::open(plan.recipe.base));
  }
  const CheckpointReader& first = layout_of(plan);
  plan.config = first.config();
  for (const TensorInfo& info : first.tensors()) {
    plan.bytes_read += plan.base ? info.num_bytes() : 0;
  }
  for (const CheckpointReader& model : plan.models) {
    check_same_architecture(first.config(), model.config(), first.dir().string(),
                            model.dir().string());
    for (const TensorInfo& info : model.tensors()) {
      plan.bytes_read += info.num_bytes();
    }
  }
}

/// Where the base has no tokenizer, the first model that has one gives it.
void choose_companions(MergePlan& plan) {
  plan.companions_from = layout_of(plan).dir();
  for (const CheckpointReader& model : plan.models) {
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
  for (const TensorInfo& info : layout_of(plan).tensors()) {
    largest = std::max(largest, info.num_elements());
  }
  const double kept = plan.recipe.method->memory_per_element * static_cast<double>(num_models) *
                      static_cast<double>(largest);
  return 20'000'000 + threads * (num_models + 5) * 40'000 + static_cast<std::uint64_t>(kept);
}

/// Merges the tensors of one group at the same time; returns the bytes that were made.
std::int64_t merge_group(const MergePlan& plan,
                         std::span<const SafetensorsWriter::Entry* const> entries,
                         const std::vector<double>& model_values, SafetensorsWriter& writer,
                         InputHashes& hashes) {
  const CheckpointReader& layout = plan.models.front();
  std::int64_t made = 0;
  std::vector<TensorTask> tasks;
  for (const SafetensorsWriter::Entry* entry : entries) {
    const std::string& name = entry->name;
    TensorTask& task = tasks.emplace_back(make_task(plan, layout.info(name), model_values));
    task.out = {.dtype = plan.out_dtype,
                .label = "tensor '" + name + "'",
                .put = [&writer, &name](std::uint64_t offset, std::span<const std::byte> bytes) {
                  writer.write_bytes(name, offset, bytes);
                }};
    task.beside = hashes.beside(name, writer);
    made += task.num_elements * static_cast<std::int64_t>(c10::elementSize(plan.out_dtype));
  }
  if (tasks.size() == 1) {
    plan.recipe.method->merge(tasks.front());  // on all threads
  } else {
    for_each_in_parallel(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
      plan.recipe.method->merge(tasks[static_cast<std::size_t>(i)]);
    });
  }
  for (const TensorTask& task : tasks) {
    drop_inputs(plan, task.name);
  }
  return made;
}

double gigabytes(std::uint64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

}  // namespace

std::string MergePlan::describe() const {
  std::ostringstream out;
  out.precision(3);
  out << "merge by " << recipe.method->name << " (" << recipe.method->doc << ")\n";
  if (base) {
    out << "  base    " << base->dir().string() << " (" << dtype_name(base->dtype()) << ")\n";
  }
  for (std::size_t m = 0; m < models.size(); ++m) {
    out << "  model   " << models[m].dir().string() << " (" << dtype_name(models[m].dtype()) << ")";
    if (!statistics.empty()) {
      out << ", statistics " << statistics[m].path().string();
    }
    out << "\n";
  }
  out << "  output  " << num_parameters(config) << " parameters in " << dtype_name(out_dtype)
      << ", " << gigabytes(bytes_written) << " GB\n"
      << "  reads " << gigabytes(bytes_read) << " GB, needs about " << gigabytes(memory_bytes)
      << " GB of memory beside mapped files\n";
  for (const std::string& warning : warnings) {
    out << "  WARNING " << warning << "\n";
  }
  return out.str();
}

MergePlan plan_merge(Recipe recipe) {
  MergePlan plan;
  plan.recipe = std::move(recipe);
  open_models(plan);
  if (plan.recipe.out_dtype || plan.recipe.dtype) {
    plan.out_dtype =
        parse_dtype(plan.recipe.out_dtype.value_or(plan.recipe.dtype.value_or("")), "dtype");
  } else {
    plan.out_dtype = layout_of(plan).dtype();
  }
  plan.bytes_written =
      static_cast<std::uint64_t>(num_parameters(plan.config)) * c10::elementSize(plan.out_dtype);
  choose_companions(plan);
  if (plan.recipe.method->needs.fisher) {
    open_statistics(plan);
  }
  plan.memory_bytes = memory_needed(plan);
  // Parameters are looked up once for every tensor, so that a missing one shows now.
  const std::vector<double> no_values(plan.models.size(), 0.0);
  for (const TensorInfo& info : layout_of(plan).tensors()) {
    (void)make_task(plan, info, no_values);
  }
  for (const CheckpointReader& model : plan.models) {
    std::string warning = config_warning(model.config().source_json, model.dir().string());
    if (!warning.empty()) {
      plan.warnings.push_back(std::move(warning));
    }
  }
  check_lineage(plan);
  check_tokenizers(plan);
  return plan;
}

MergePlan plan_merge(const fs::path& recipe, std::span<const std::string> overrides) {
  return plan_merge(load_recipe(recipe, overrides));
}

std::vector<FileRecord> run_merge(const MergePlan& plan, const fs::path& dir, Progress& progress) {
  for (const std::string& warning : plan.warnings) {
    log_warning(warning);
  }
  const std::vector<double> model_values = model_values_of(plan);
  const WeightFiles files = plan_weight_files(plan.config, plan.out_dtype, plan.shard_bytes);
  std::vector<FileRecord> records;
  InputHashes hashes(plan);  // taken beside the work, of what has no manifest
  std::int64_t done = 0;     // bytes, as plan.bytes_written
  for (std::size_t f = 0; f < files.names.size(); ++f) {
    SafetensorsWriter writer(dir / files.names[f], files.entries[f], {{"format", "pt"}});
    const auto entries = in_reading_order(files.entries[f], plan.models.front());
    for (std::size_t first = 0; first < entries.size();) {
      const std::size_t end = end_of_group(entries, first, plan.models.front());
      done += merge_group(plan, std::span(entries).subspan(first, end - first), model_values,
                          writer, hashes);
      progress.update(done);
      first = end;
    }
    std::string hash = writer.hash();
    writer.finish();
    records.push_back({files.names[f], fs::file_size(dir / files.names[f]), std::move(hash)});
  }
  hashes.finish();
  if (!files.index_json.empty()) {
    write_file_atomically(dir / "model.safetensors.index.json", files.index_json);
  }
  write_file_atomically(dir / "config.json",
                        model_config_json(plan.config, dtype_name(plan.out_dtype)));
  copy_companions(plan.companions_from, dir);
  progress.finish();
  return records;
}

Manifest merge_manifest(const MergePlan& plan) {
  Manifest out;
  out.stage = "merge";
  out.config = plan.recipe.text;
  out.seed = plan.recipe.random_seed;
  out.notes["method"] = plan.recipe.method->name;
  const auto add = [&out](const char* role, const fs::path& path) {
    out.inputs.push_back({role, path.string(), path_identity(path)});
  };
  LedgerInputs spent;
  for (const RecipeModel& model : plan.recipe.models) {
    add("model", model.path);
    if (!model.statistics.empty()) {
      add("statistics", model.statistics);
    }
  }
  if (plan.base) {
    add("base", plan.recipe.base);
  }
  for (const InputRecord& input : out.inputs) {
    (input.role == "model" ? spent.models : spent.others).emplace_back(input.path);
  }
  const Ledger ledger = ledger_of(spent);
  out.flops_total = ledger.flops_total;
  out.flops_sunk = ledger.flops_sunk;
  out.tokens_total = ledger.tokens_total;
  if (!ledger.warning.empty()) {
    log_warning(ledger.warning);
    out.notes["warning_ledger"] = ledger.warning;
  }
  if (!plan.warnings.empty()) {
    for (std::size_t i = 0; i < plan.warnings.size(); ++i) {
      out.notes["warning_" + std::to_string(i + 1)] = plan.warnings[i];
    }
  }
  return out;
}

}  // namespace growmerge::merging
