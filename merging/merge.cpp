#include "merging/merge.h"

#include <algorithm>
#include <unordered_map>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "merging/input_hashes.h"
#include "merging/journal.h"
#include "merging/ledger.h"
#include "merging/merge_task.h"
#include "merging/output_files.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSmallTensor = std::int64_t{2} << 20;     // elements
constexpr std::int64_t kGroupElements = std::int64_t{32} << 20;  // of small tensors together

/// The first source's model and tensor: inputs are read from front to back of its files.
std::pair<fs::path, std::uint64_t> place_of(const MergePlan& plan, const OutputTensor& out) {
  const RecipeSource& source = plan.recipe.slices[out.slice].sources.front();
  const SourceModel& model = plan.models[source.model];
  const std::string tensor = source_tensor(out, source, model);
  const SafetensorsFile& file = model.checkpoint().file(tensor);
  return {file.path(), file.info(tensor).begin};
}

/// The tensors of one output file, in reading order.
std::vector<const OutputTensor*> in_reading_order(
    const std::vector<SafetensorsWriter::Entry>& entries, const MergePlan& plan,
    const std::unordered_map<std::string, const OutputTensor*>& by_name) {
  std::vector<std::pair<std::pair<fs::path, std::uint64_t>, const OutputTensor*>> placed;
  for (const SafetensorsWriter::Entry& entry : entries) {
    const OutputTensor* tensor = by_name.at(entry.name);
    placed.emplace_back(place_of(plan, *tensor), tensor);
  }
  // Stable: a layer that is used twice keeps the order of the output.
  std::stable_sort(placed.begin(), placed.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<const OutputTensor*> out;
  for (const auto& [place, tensor] : placed) {
    out.push_back(tensor);
  }
  return out;
}

/// Where the tensors end that are merged at the same time from `first` on: a large one alone, on
/// all threads; small ones together, each on one thread, because waking and joining threads for
/// each takes as long as its arithmetic.
std::size_t end_of_group(const std::vector<const OutputTensor*>& tensors, std::size_t first) {
  std::int64_t elements = 0;
  std::size_t end = first;
  while (end < tensors.size()) {
    const std::int64_t n = tensors[end]->spec.num_elements();
    if (n > kSmallTensor || elements + n > kGroupElements) {
      break;
    }
    elements += n;
    ++end;
  }
  return std::max(end, first + 1);
}

/// What the method must know of each model before the first tensor; zeros where that is nothing.
std::vector<double> model_values_of(const MergePlan& plan) {
  std::vector<double> out(plan.models.size(), 0.0);
  if (plan.recipe.method->model_pass == nullptr) {
    return out;
  }
  for (const RecipeSource& source : plan.recipe.slices.front().sources) {
    out[source.model] = plan.recipe.method->model_pass([&plan, &source](const auto& visit) {
      for (const OutputTensor& tensor : plan.tensors) {
        TensorTask task = task_without_inputs(plan, tensor);
        task.inputs.push_back(make_input(plan, tensor, source));
        visit(task);
        drop_inputs(plan, tensor);
      }
    });
  }
  return out;
}

std::int64_t bytes_of(const OutputTensor& tensor) {
  return tensor.spec.num_elements() * static_cast<std::int64_t>(c10::elementSize(tensor.dtype));
}

/// Merges the tensors of one group at the same time; returns the bytes that were made.
std::int64_t merge_group(const MergePlan& plan, std::span<const OutputTensor* const> tensors,
                         const std::vector<double>& model_values, SafetensorsWriter& writer,
                         InputHashes& hashes) {
  std::int64_t made = 0;
  std::vector<TensorTask> tasks;
  for (const OutputTensor* tensor : tensors) {
    const std::string& name = tensor->spec.name;
    TensorTask& task = tasks.emplace_back(make_task(plan, *tensor, model_values));
    task.out = {.dtype = tensor->dtype,
                .label = "tensor '" + name + "'",
                .put = [&writer, &name](std::uint64_t offset, std::span<const std::byte> bytes) {
                  writer.write_bytes(name, offset, bytes);
                }};
    task.beside = hashes.beside(name, writer);
    made += bytes_of(*tensor);
  }
  if (tasks.size() == 1) {
    plan.recipe.method->merge(tasks.front());  // on all threads
  } else {
    for_each_in_parallel(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
      plan.recipe.method->merge(tasks[static_cast<std::size_t>(i)]);
    });
  }
  for (const OutputTensor* tensor : tensors) {
    drop_inputs(plan, *tensor);
  }
  return made;
}

/// Takes out what a killed run has made, and tells the writer; returns its bytes.
std::int64_t take_finished(const Journal& journal, std::vector<const OutputTensor*>& tensors,
                           SafetensorsWriter& writer) {
  std::int64_t bytes = 0;
  std::erase_if(tensors, [&](const OutputTensor* tensor) {
    const bool is_done = journal.has_tensor(tensor->spec.name);
    if (is_done) {
      writer.mark_written(tensor->spec.name);
      bytes += bytes_of(*tensor);
    }
    return is_done;
  });
  return bytes;
}

WeightFiles layout_of(const MergePlan& plan,
                      const std::unordered_map<std::string, const OutputTensor*>& by_name) {
  return plan_weight_files(
      plan.config, [&by_name](const std::string& name) { return by_name.at(name)->dtype; },
      plan.shard_bytes);
}

}  // namespace

std::vector<FileRecord> run_merge(const MergePlan& plan, const fs::path& dir, Progress& progress) {
  for (const std::string& note : plan.recipe.notes) {
    log_info(note);
  }
  for (const std::string& warning : plan.warnings) {
    log_warning(warning);
  }
  std::unordered_map<std::string, const OutputTensor*> by_name;
  for (const OutputTensor& tensor : plan.tensors) {
    by_name.emplace(tensor.spec.name, &tensor);
  }
  const std::vector<double> model_values = model_values_of(plan);
  const WeightFiles files = layout_of(plan, by_name);
  Journal journal(dir, journal_identity(plan));
  std::vector<FileRecord> records;
  InputHashes hashes(plan);  // taken beside the work, of what has no manifest
  std::int64_t done = 0;     // bytes, as plan.bytes_written
  for (std::size_t f = 0; f < files.names.size(); ++f) {
    auto tensors = in_reading_order(files.entries[f], plan, by_name);
    if (const auto finished = journal.find_file(files.names[f])) {
      for (const OutputTensor* tensor : tensors) {
        done += bytes_of(*tensor);
      }
      records.push_back(*finished);
      continue;
    }
    const bool goes_on = journal.begin_file(files.names[f]);
    SafetensorsWriter writer(dir / files.names[f], files.entries[f], {{"format", "pt"}}, goes_on);
    done += take_finished(journal, tensors, writer);
    progress.update(done);
    for (std::size_t first = 0; first < tensors.size();) {
      const std::size_t end = end_of_group(tensors, first);
      const auto group = std::span(tensors).subspan(first, end - first);
      done += merge_group(plan, group, model_values, writer, hashes);
      for (const OutputTensor* tensor : group) {
        journal.add_tensor(tensor->spec.name);
      }
      progress.update(done);
      first = end;
    }
    std::string hash = writer.hash();
    writer.finish();
    records.push_back({files.names[f], fs::file_size(dir / files.names[f]), std::move(hash)});
    journal.add_file(records.back());
  }
  hashes.finish();
  if (!files.index_json.empty()) {
    write_file_atomically(dir / "model.safetensors.index.json", files.index_json);
  }
  write_other_files(plan, dir);
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
    if (!model.adapter.empty()) {
      add("adapter", model.adapter);
    }
    if (!model.statistics.empty()) {
      add("statistics", model.statistics);
    }
  }
  for (const ModelReference& base : plan.recipe.bases) {
    add("base", base.path);
    if (!base.adapter.empty()) {
      add("adapter", base.adapter);
    }
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
