// growmerge eval: checkpoints x tasks -> results, on all ranks.
#include "core/base/files.h"
#include "core/base/format.h"
#include "eval/evaluate.h"
#include "eval/tasks/kind.h"

#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/checkpoint.h"
#include "core/model/flops.h"
#include "core/store/hub_cache.h"
#include "core/tokenizer/tokenizer.h"
#include "core/transformer/transformer.h"
#include "data/document_reader.h"
#include "launch/commands/commands.h"
#include "launch/lineage.h"
#include "launch/stage_driver.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

struct EvalModel {
  std::string name;
  std::string path;

  void describe(FieldVisitor& v) {
    v("name", name, "", "what the model is called in tables; default: its directory's name");
    v("path", path, "", "checkpoint", v.kInput);
  }
  [[nodiscard]] std::string full_name() const { return name.empty() ? model_dir_name(path) : name; }
};

struct EvalCommandConfig {
  std::vector<EvalModel> models;
  eval::EvalConfig eval;

  void describe(FieldVisitor& v) {
    v("models", models, "", "what is evaluated; each gets a directory of its own");
    eval.describe(v);
  }
  void validate() const {
    GM_CHECK(!models.empty(), kInvalidArgument,
             "eval: no model: give paths, or `models` in the config");
    std::set<std::string> names;
    for (const EvalModel& model : models) {
      GM_CHECK(!model.path.empty(), kInvalidArgument, "eval: a model has no path");
      const std::string name = model.full_name();
      GM_CHECK(names.insert(name).second, kInvalidArgument, "eval: two models are called '", name,
               "': give each a name of its own");
      GM_CHECK(name.find('/') == std::string::npos && name.front() != '.', kInvalidArgument,
               "eval: '", name, "' cannot name a model: it becomes a directory");
    }
    GM_CHECK(!eval.tasks.empty(), kInvalidArgument, "eval: no tasks");
    eval.validate();
  }
};

StagePlan plan(const EvalCommandConfig& config) {
  StagePlan out;
  out.stage = "eval";
  out.resumable = true;  // model by model
  out.seed = static_cast<std::uint64_t>(config.eval.seed);
  for (const EvalModel& model : config.models) {
    out.inputs.push_back({"model " + model.full_name(), model.path});
  }
  for (const eval::TaskConfig& task : config.eval.tasks) {
    const std::vector<std::string> paths = task.inputs();
    for (std::size_t i = 0; i < paths.size(); ++i) {
      StageInput input{concat("task ", task.full_name(), " ", i), paths[i]};
      if (eval::task_kind(task.kind).reads_text) {
        input.list_files = [path = paths[i]] { return data::expand_input(path); };
      }
      out.inputs.push_back(std::move(input));
    }
  }
  return out;
}

/// Documents of a task of running text.
std::vector<eval::Document> load_documents(const eval::TaskConfig& task) {
  std::vector<eval::Document> out;
  for (const std::string& path : task.path) {
    data::TextInput input;
    input.path = path;
    input.language = task.language;
    input.lines = task.lines;
    data::DocumentReader reader(input);
    while (auto document = reader.next()) {
      out.push_back({std::move(document->id), std::move(document->text)});
    }
  }
  return out;
}

std::string estimate(const EvalCommandConfig& config, int ranks) {
  std::string text = eval::describe_tasks(config.eval);
  double bytes = 0.0;
  for (const EvalModel& model : config.models) {
    const ModelConfig shape = load_model_config(model.path);
    const double parameters = static_cast<double>(num_parameters(shape));
    const bool exact = config.eval.dtype == "float32";
    bytes = std::max(bytes, parameters * (exact ? 4.0 : 6.0) +
                                static_cast<double>(inference_bytes(
                                    shape, config.eval.batch_tokens,
                                    exact ? at::ScalarType::Float : at::ScalarType::BFloat16)));
    text += "costs     " + model.full_name() + ": " +
            format_flops(forward_flops_per_token(shape, 128.0)) + " a token\n";
  }
  return text + "memory    about " + format_bytes(kProcessBytes + bytes) + " a rank\n";
}

/// Results that an interrupted run has left stay only if it was this very evaluation.
void keep_or_clear(const StageRun& run) {
  const fs::path mark = run.dir / ".identity";
  if (fs::exists(mark) && read_file(mark) == run.manifest.identity) {
    return;
  }
  for (const auto& entry : fs::directory_iterator(run.dir)) {
    if (entry.is_directory()) {
      fs::remove_all(entry.path());
    }
  }
  write_file_atomically(mark, run.manifest.identity);
}

/// Results of a model that changed meanwhile must not be taken up by a later start.
void check_inputs_of(const fs::path& dir, const StageRun& run) {
  run_agreed(run.comm, [&] {
    if (!run.comm.is_root()) {
      return;
    }
    try {
      run.check_inputs();
    } catch (const Error&) {
      fs::remove_all(dir);
      throw;
    }
  });
}

void work(const EvalCommandConfig& config, StageRun& run) {
  run_agreed(run.comm, [&] {
    if (run.comm.is_root()) {
      keep_or_clear(run);
    }
  });
  eval::Evaluator evaluator(config.eval, load_documents, run.comm);
  for (std::size_t i = 0; i < config.models.size(); ++i) {
    const EvalModel& entry = config.models[i];
    const fs::path dir = run.dir / entry.full_name();
    // results.json is written last; all ranks look before any writes.
    if (!run.comm.all_ok(!fs::exists(dir / "results.json"))) {
      log_info(
          concat("[", i + 1, "/", config.models.size(), "] ", entry.full_name(), ": done before"));
      continue;
    }
    Model model;
    std::optional<Tokenizer> tokenizer;
    run_agreed(run.comm, [&] {
      model = load_model(entry.path, config.eval.scalar_type());
      tokenizer = Tokenizer::load(entry.path);
    });
    const eval::ModelIdentity identity{.name = entry.full_name(),
                                       .path = entry.path,
                                       .identity = run.manifest.inputs[i].identity,
                                       .dtype = config.eval.dtype,
                                       .tokenizer_hash = tokenizer->hash()};
    run_agreed(run.comm, [&] {
      if (run.comm.is_root()) {
        fs::create_directories(dir);
      }
    });
    log_info(concat("[", i + 1, "/", config.models.size(), "] ", entry.full_name()));
    const eval::Results results =
        evaluator.evaluate(model, *tokenizer, identity, dir, run.show_progress);
    check_inputs_of(dir, run);
    log_info("\n" + eval::format_results(results));
  }
}

}  // namespace

Command eval_command() {
  Command out;
  out.name = "eval";
  out.doc = "checkpoints x tasks -> results with standard errors";
  out.usage = "[MODEL...] --config FILE --out DIR";
  out.details = "Writes DIR/MODEL/results.json and DIR/MODEL/items/TASK.jsonl for each model.\n";
  set_stage<EvalCommandConfig>(out, plan, estimate, work);
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    if (paths.empty()) {
      return;
    }
    GM_CHECK(config.find("models") == nullptr, kInvalidArgument,
             "'eval': give the models as paths or as 'models' in the config, not both");
    YamlNode list;
    list.kind = YamlNode::Kind::kSequence;
    for (const std::string& path : paths) {
      YamlNode item;
      item.kind = YamlNode::Kind::kMap;
      set_scalar(item, "path", path);
      list.items.push_back(std::move(item));
    }
    config.entries.emplace_back("models", std::move(list));
  };
  return out;
}

}  // namespace growmerge::launch
