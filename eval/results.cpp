#include "eval/results.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/version.h"
#include "eval/tasks/kind.h"

namespace growmerge::eval {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kResultsVersion = 1;
constexpr int kTaskVersion = 1;

Json metrics_json(const TaskSummary& summary) {
  Json json = {{"alias", summary.name}};
  for (const auto& [name, value] : summary.metrics) {
    json[name + ",none"] = value;
  }
  return json;
}

Json optional_json(const std::optional<std::int64_t>& value) {
  return value ? Json(*value) : Json();
}

/// What chose and scored the items: the kind's own settings, and of the rules those it knows.
Json config_json(const TaskHeader& header) {
  Json json = {{"task", header.name},           {"kind", header.kind},
               {"language", header.language},   {"context", header.context},
               {"data_hash", header.data_hash}, {"limit", optional_json(header.limit)}};
  // The kind's settings stand beside the common ones, as in the harness's configs.
  json.update(Json::parse(header.settings));
  const TaskKind& kind = task_kind(header.kind);
  const ScoringRules& rules = header.rules;
  const std::pair<const char*, const std::string*> named[] = {
      {"prefix", &rules.prefix},
      {"delimiter", &rules.delimiter},
      {"tie", &rules.tie},
      {"first_token", &rules.first_token},
      {"normalisation", &rules.normalisation},
      {"overlong", &rules.overlong}};
  for (const auto& [name, value] : named) {
    // A rule without meaning for the kind would read as if it had one.
    if (kind.takes(std::string("rules.") + name)) {
      // The harness calls it so.
      json[std::string(name) == "delimiter" ? "target_delimiter" : name] = *value;
    }
  }
  return json;
}

/// {"original": items without the limit, "effective": those evaluated}, of the task or of one of
/// its paradigms. Headers of an older program do not count the former.
Json sample_counts(const TaskHeader& header, const std::string& paradigm, std::int64_t effective) {
  std::int64_t original = header.original.empty() ? effective : 0;
  for (const auto& [part, count] : header.original) {
    original += paradigm.empty() || part == paradigm ? count : 0;
  }
  return {{"original", original}, {"effective", effective}};
}

/// The harness has one limit for all tasks; where ours differ, they stand by task.
Json limits_json(const std::vector<TaskHeader>& headers) {
  Json by_task = Json::object();
  bool one_limit = true;
  for (const TaskHeader& header : headers) {
    by_task[header.name] = optional_json(header.limit);
    one_limit &= header.limit == headers.front().limit;
  }
  if (!one_limit) {
    return by_task;
  }
  return headers.empty() ? Json() : optional_json(headers.front().limit);
}

/// Whether figures that both know are the same to rounding: one may be of another version, which
/// knew fewer or more.
bool agree(const Json& stored, const Json& figures) {
  for (const auto& [name, figure] : figures.items()) {
    if (!stored.contains(name)) {
      continue;
    }
    const Json& other = stored.at(name);
    if (!figure.is_number() || !other.is_number()) {
      if (figure != other) {
        return false;
      }
      continue;
    }
    const double a = figure;
    const double b = other;
    if (!(std::abs(a - b) <= 1e-9 * std::max(1.0, std::abs(a)))) {
      return false;
    }
  }
  return true;
}

}  // namespace

TaskSummary summarise(const TaskItems& items) {
  GM_CHECK(!items.records.empty(), kCorrupt, items.header.name, ": there are no items");
  return task_kind(items.header.kind).family->summarise(items);
}

double TaskSummary::metric(const std::string& metric_name) const {
  std::string all;
  for (const auto& [known, value] : metrics) {
    if (known == metric_name) {
      return value;
    }
    all += (all.empty() ? "" : ", ") + known;
  }
  fail(ErrorCode::kNotFound, name, ": no metric '", metric_name, "' (there are: ", all, ")");
}

bool TaskSummary::has(const std::string& metric_name) const {
  for (const auto& [known, value] : metrics) {
    if (known == metric_name) {
      return true;
    }
  }
  return false;
}

std::string results_json(const Results& results) {
  GM_ASSERT(results.headers.size() == results.tasks.size());
  Json json;
  for (const char* key : {"results", "groups", "group_subtasks", "phenomena", "configs", "versions",
                          "n-shot", "higher_is_better", "n-samples"}) {
    json[key] = Json::object();
  }
  for (std::size_t i = 0; i < results.tasks.size(); ++i) {
    const TaskSummary& task = results.tasks[i];
    const TaskHeader& header = results.headers[i];
    json["results"][task.name] = metrics_json(task);
    json["configs"][task.name] = config_json(header);
    json["versions"][task.name] = kTaskVersion;
    json["n-shot"][task.name] = header.shots;
    const ScoringFamily& family = *task_kind(header.kind).family;
    json["higher_is_better"][task.name] = {{family.metric, family.higher_is_better}};
    // Of a mean over paradigms: all items of all of them.
    json["n-samples"][task.name] = sample_counts(header, "", task.num_items);
    // The harness's group: a score of its own, and its members by name.
    if (header.macro) {
      json["groups"][task.name] = metrics_json(task);
      json["group_subtasks"][task.name] = Json::array();
    }
    for (const TaskSummary& paradigm : task.paradigms) {
      json["group_subtasks"][task.name].push_back(paradigm.name);
      json["results"][paradigm.name] = metrics_json(paradigm);
      json["n-samples"][paradigm.name] =
          sample_counts(header, paradigm.name.substr(task.name.size() + 1), paradigm.num_items);
    }
    for (const TaskSummary& phenomenon : task.phenomena) {
      Json figures = metrics_json(phenomenon);
      figures["n"] = phenomenon.num_items;
      json["phenomena"][task.name][phenomenon.name] = figures;
    }
  }
  json["config"] = {{"model", "growmerge"},
                    {"model_name", results.model.name},
                    {"model_args", "pretrained=" + results.model.path},
                    {"model_identity", results.model.identity},
                    {"model_dtype", results.model.dtype},
                    {"batch_tokens", results.batch_tokens},
                    {"tokenizer_hash", results.model.tokenizer_hash},
                    {"limit", limits_json(results.headers)}};
  json["model_source"] = "growmerge";
  json["model_name"] = results.model.name;
  json["git_hash"] = git_hash();
  json["growmerge_version"] = growmerge_version();
  json["format_version"] = kResultsVersion;
  json["tasks"] = Json::array();
  for (const TaskSummary& task : results.tasks) {
    json["tasks"].push_back(task.name);
  }
  return json.dump(2) + "\n";
}

const TaskSummary* Results::find(const std::string& task) const {
  for (const TaskSummary& summary : tasks) {
    if (summary.name == task) {
      return &summary;
    }
  }
  return nullptr;
}

std::filesystem::path items_path(const std::filesystem::path& dir, const std::string& task) {
  return dir / "items" / (task + ".jsonl");
}

void write_results(const std::filesystem::path& dir, const Results& results) {
  write_file_atomically(dir / "results.json", results_json(results));
}

Results read_results(const std::filesystem::path& dir) {
  const std::filesystem::path path = dir / "results.json";
  Results results;
  Json json;
  try {
    json = Json::parse(read_json_text(path));
    const int version = json.at("format_version");
    GM_CHECK(version == kResultsVersion, kUnsupported, path.string(), ": results of version ",
             version, ", this program reads version ", kResultsVersion);
    const Json& config = json.at("config");
    results.model.name = config.at("model_name");
    const std::string arguments = config.at("model_args");
    const std::string lead = "pretrained=";
    GM_CHECK(arguments.starts_with(lead), kCorrupt, path.string(), ": model_args is '", arguments,
             "', expected '", lead, "PATH'");
    results.model.path = arguments.substr(lead.size());
    results.model.identity = config.at("model_identity");
    results.model.dtype = config.at("model_dtype");
    results.model.tokenizer_hash = config.at("tokenizer_hash");
    results.batch_tokens = config.at("batch_tokens");
    for (const std::string task : json.at("tasks")) {
      // Figures are never taken from results.json: what the items do not give is refused below.
      const TaskItems items = read_items(items_path(dir, task));
      results.headers.push_back(items.header);
      results.tasks.push_back(summarise(items));
    }
  } catch (const nlohmann::json::exception& e) {
    fail(ErrorCode::kCorrupt, path.string(), ": ", e.what());
  }
  // By way of the text that would be written, so that every figure there is looked at.
  const Json recomputed = Json::parse(results_json(results));
  for (const auto& [task, figures] : recomputed.at("results").items()) {
    GM_CHECK(json.at("results").contains(task) && agree(json.at("results").at(task), figures),
             kCorrupt, path.string(), ": the figures of '", task,
             "' are not those of its items in ", (dir / "items").string(),
             "; one of them was changed: evaluate again");
  }
  return results;
}

}  // namespace growmerge::eval
