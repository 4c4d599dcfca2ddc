#include "eval/task_config.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "core/base/error.h"
#include "eval/tasks/kind.h"

namespace growmerge::eval {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json json_of(const T& value) {
  return value;
}
template <class T>
Json json_of(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

/// What describe() names, as JSON.
class JsonVisitor : public FieldVisitor {
 public:
  Json json = Json::object();

 private:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    json[info.key] = std::visit([](const auto* value) { return json_of(*value); }, member);
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    JsonVisitor inner;
    describe(inner);
    json[info.key] = std::move(inner.json);
  }
  void list(const FieldInfo& info, const ListRef& member) override {
    json[info.key] = Json::array();
    for (std::size_t i = 0; i < member.size(); ++i) {
      JsonVisitor inner;
      member.describe(i, inner);
      json[info.key].push_back(std::move(inner.json));
    }
  }
};

Json described(TaskConfig task) {
  JsonVisitor visitor;
  task.describe(visitor);
  return std::move(visitor.json);
}

/// Members that every kind takes.
bool is_common(const std::string& key) {
  return key == "name" || key == "kind" || key == "path" || key == "language" || key == "limit" ||
         key == "context";
}

/// The kinds that take an option, for an error: "blimp, multiblimp, pairs".
std::string kinds_with(const std::string& option) {
  std::string all;
  for (const TaskKind& kind : task_kinds()) {
    if (kind.takes(option)) {
      all += (all.empty() ? "" : ", ") + std::string(kind.name);
    }
  }
  return all;
}

/// What was set (is not as it is by default) must be something that the kind reads.
void check_options(const TaskConfig& task, const TaskKind& kind) {
  const Json given = described(task);
  // A setting at its default is as good as not given, whatever the file says.
  const Json defaults = described(TaskConfig());
  for (const auto& [key, value] : given.items()) {
    if (is_common(key) || value == defaults.at(key) || kind.takes(key)) {
      continue;
    }
    // Rules are a group of which a kind may take some.
    if (key != "rules") {
      fail(ErrorCode::kInvalidArgument, "task '", task.full_name(), "': ", key, " is for ",
           kinds_with(key));
    }
    for (const auto& [rule, setting] : value.items()) {
      GM_CHECK(setting.is_null() || kind.takes("rules." + rule), kInvalidArgument, "task '",
               task.full_name(), "': of the rules, only ", kind.rules_taken(), " applies to ",
               kind.name);
    }
  }
}

bool names_tsv(const TaskConfig& task) {
  const std::vector<std::string> files = task.inputs();
  return std::any_of(files.begin(), files.end(),
                     [](const std::string& file) { return file.ends_with(".tsv"); });
}

}  // namespace

std::string TaskConfig::full_name() const {
  return !name.empty() ? name : language.empty() ? kind : kind + "_" + language;
}

bool TaskConfig::reads_quotes() const {
  const auto kinds = task_kinds();
  const auto row = std::find_if(kinds.begin(), kinds.end(),
                                [&](const TaskKind& known) { return kind == known.name; });
  // An unknown kind is complained of by validate().
  return quoted.value_or(row != kinds.end() && row->quoted);
}

bool TaskConfig::reads_as_if_quoted() const { return reads_quotes() || !names_tsv(*this); }

std::vector<std::string> TaskConfig::inputs() const {
  std::vector<std::string> all = path;
  // Examples decide the score as the items do, so they are part of a stage's identity.
  if (!choice.shots_from.empty()) {
    all.push_back(choice.shots_from);
  }
  return all;
}

void TaskConfig::validate() const {
  const std::string full = full_name();
  const auto need = [&](bool ok, const std::string& text) {
    GM_CHECK(ok, kInvalidArgument, "task '", full, "': ", text);
  };
  const TaskKind& row =
      with_context("task '" + full + "'", [&]() -> const TaskKind& { return task_kind(kind); });
  need(!path.empty(), "no path is given");
  need(row.several_paths || path.size() == 1, kind + " takes one path");
  need(std::all_of(full.begin(), full.end(),
                   [](unsigned char c) {
                     return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
                   }) &&
           full.front() != '.',
       "a name is made of letters, digits, '_', '-' and '.'");
  need(!quoted || row.quoted || !row.takes("quoted") || names_tsv(*this),
       "quoted is for .tsv files, and none is named");
  need(!limit || *limit >= 1, "limit must be at least 1");
  need(context >= 0, "context must be 0 or more tokens");
  need(!max_characters || *max_characters >= 1, "max_characters must be at least 1");
  check_options(*this, row);
  with_context("task '" + full + "'", [&] {
    // The kind's own complaint comes first: it is the more telling one.
    if (row.check != nullptr) {
      row.check(*this);
    }
    (void)resolve_rules(preset, kind, rules);
  });
}

std::string kind_settings(const TaskConfig& task) {
  const TaskKind& kind = task_kind(task.kind);
  Json settings = Json::object();
  // Paths and the rules that hold in the end stand in the header by themselves.
  const Json all = described(task);
  for (const auto& [key, value] : all.items()) {
    if (!is_common(key) && key != "rules" && kind.takes(key)) {
      settings[key] = value;
    }
  }
  return settings.dump();
}

}  // namespace growmerge::eval
