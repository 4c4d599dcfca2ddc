#include "eval/compare.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "eval/tasks/kind.h"

namespace growmerge::eval {
namespace {

void check_same_task(const TaskItems& a, const TaskItems& b) {
  const TaskHeader& ha = a.header;
  const TaskHeader& hb = b.header;
  // Whatever decides a score must agree, or the difference would be one of settings.
  const auto same = [&](const char* what, const auto& x, const auto& y) {
    GM_CHECK(x == y, kMismatch, "comparing task '", ha.name, "': ", what, " is '", x,
             "' in one and '", y, "' in the other; evaluate both models in the same way");
  };
  same("the kind", ha.kind, hb.kind);
  // Items written before dtype was kept do not name one.
  if (!ha.dtype.empty() && !hb.dtype.empty()) {
    same("dtype", ha.dtype, hb.dtype);
  }
  same("the hash of the items", ha.data_hash, hb.data_hash);
  same("the context", ha.context, hb.context);
  same("prefix_each_window", ha.setting("prefix_each_window"), hb.setting("prefix_each_window"));
  // Items of an earlier program do not name it, and were cut so.
  const auto stride = [](const TaskHeader& header) {
    const std::string named = header.setting("stride");
    return named.empty() ? std::string("\"half\"") : named;
  };
  same("stride", stride(ha), stride(hb));
  same("prefix", ha.rules.prefix, hb.rules.prefix);
  same("delimiter", ha.rules.delimiter, hb.rules.delimiter);
  same("tie", ha.rules.tie, hb.rules.tie);
  same("first_token", ha.rules.first_token, hb.rules.first_token);
  same("normalisation", ha.rules.normalisation, hb.rules.normalisation);
  same("the number of items", a.records.size(), b.records.size());
  for (std::size_t i = 0; i < a.records.size(); ++i) {
    same("an item's id", a.records[i].id, b.records[i].id);
    same("an item's number of choices", a.records[i].bytes.size(), b.records[i].bytes.size());
    if (!a.records[i].gold) {  // bits per byte divides by them
      same("a document's size in bytes", a.records[i].bytes[0], b.records[i].bytes[0]);
    }
  }
}

/// null where one unit alone was resampled: it is always drawn, so its interval is a point.
nlohmann::ordered_json figure_json(const Comparison& row, nlohmann::ordered_json figure) {
  return row.num_units < 2 ? nlohmann::ordered_json() : std::move(figure);
}

}  // namespace

void Comparison::conclude(const BootstrapResult& bootstrap, std::size_t num_resampled,
                          bool higher_is_better) {
  num_units = static_cast<std::int64_t>(num_resampled);
  difference = b - a;
  interval = bootstrap.interval;
  equivalence_margin =
      std::max(std::abs(bootstrap.tost_interval.low), std::abs(bootstrap.tost_interval.high));
  separable = num_units >= kFewestUnits && !interval.contains(0.0);
  b_better = higher_is_better ? difference > 0.0 : difference < 0.0;
}

std::string Comparison::verdict(const char* if_b, const char* if_a) const {
  if (!separable) {
    return num_units < kFewestUnits ? concat("not separable (n = ", num_units, ")")
                                    : "not separable";
  }
  return b_better ? if_b : if_a;
}

std::vector<Comparison> compare_items(const TaskItems& a, const TaskItems& b,
                                      const BootstrapOptions& options) {
  check_same_task(a, b);
  GM_CHECK(!a.records.empty(), kInvalidArgument, "comparing task '", a.header.name,
           "': there are no items");
  // What is resampled depends on how the kind is scored.
  return task_kind(a.header.kind).family->compare(a, b, options);
}

ComparisonTable compare_results(const std::filesystem::path& dir_a,
                                const std::filesystem::path& dir_b,
                                const BootstrapOptions& options) {
  // Names alone: the figures come from the items.
  const auto index = [](const std::filesystem::path& dir) {
    return with_context("reading " + (dir / "results.json").string(), [&] {
      try {
        const auto json = nlohmann::json::parse(read_json_text(dir / "results.json"));
        return std::make_pair(json.at("model_name").get<std::string>(),
                              json.at("tasks").get<std::vector<std::string>>());
      } catch (const nlohmann::json::exception& e) {
        fail(ErrorCode::kCorrupt, e.what());
      }
    });
  };
  const auto [name_a, tasks_a] = index(dir_a);
  const auto [name_b, tasks_b] = index(dir_b);
  ComparisonTable table{name_a, name_b, {}, {}};
  for (const std::string& task : tasks_a) {
    if (std::find(tasks_b.begin(), tasks_b.end(), task) == tasks_b.end()) {
      table.left_out.push_back(task);
      continue;
    }
    for (Comparison& row : compare_items(read_items(items_path(dir_a, task)),
                                         read_items(items_path(dir_b, task)), options)) {
      table.rows.push_back(std::move(row));
    }
  }
  for (const std::string& task : tasks_b) {
    if (std::find(tasks_a.begin(), tasks_a.end(), task) == tasks_a.end()) {
      table.left_out.push_back(task);
    }
  }
  return table;
}

std::string comparison_json(const ComparisonTable& table) {
  nlohmann::ordered_json json = {{"model_a", table.model_a}, {"model_b", table.model_b}};
  json["left_out"] = table.left_out;
  json["rows"] = nlohmann::ordered_json::array();
  for (const Comparison& row : table.rows) {
    nlohmann::ordered_json entry = {
        {"task", row.task},
        {"part", row.part},
        {"language", row.language},
        {"metric", row.metric},
        {"n", row.num_items},
        {"a", row.a},
        {"b", row.b},
        {"difference", row.difference},
        {"units", row.num_units},
        {"interval", figure_json(row, {row.interval.low, row.interval.high})},
        {"equivalence_margin", figure_json(row, row.equivalence_margin)},
        {"verdict", row.verdict()}};
    if (row.metric == "acc") {
      entry["retained"] = row.retained;
      entry["lost"] = row.lost;
      entry["gained"] = row.gained;
      entry["neither"] = row.neither;
      entry["mcnemar_exact_p"] = row.mcnemar.exact_p;
      entry["mcnemar_mid_p"] = row.mcnemar.mid_p;
      entry["holm_p"] = row.holm_p;
      entry["margin_difference"] = row.margin_difference;
      entry["margin_interval"] =
          figure_json(row, {row.margin_interval.low, row.margin_interval.high});
    }
    json["rows"].push_back(std::move(entry));
  }
  return json.dump(2) + "\n";
}

}  // namespace growmerge::eval
