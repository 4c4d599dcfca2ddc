#include "eval/compare.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <set>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge::eval {
namespace {

void check_same_task(const TaskItems& a, const TaskItems& b) {
  const TaskHeader& ha = a.header;
  const TaskHeader& hb = b.header;
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
  same("prefix", ha.prefix, hb.prefix);
  same("prefix_each_window", ha.prefix_each_window, hb.prefix_each_window);
  same("prefix", ha.rules.prefix, hb.rules.prefix);
  same("delimiter", ha.rules.delimiter, hb.rules.delimiter);
  same("tie", ha.rules.tie, hb.rules.tie);
  same("first_token", ha.rules.first_token, hb.rules.first_token);
  same("normalisation", ha.rules.normalisation, hb.rules.normalisation);
  same("the number of pairs", a.pairs.size(), b.pairs.size());
  same("the number of documents", a.texts.size(), b.texts.size());
  for (std::size_t i = 0; i < a.pairs.size(); ++i) {
    same("an item's id", a.pairs[i].id, b.pairs[i].id);
  }
  for (std::size_t i = 0; i < a.texts.size(); ++i) {
    same("a document's id", a.texts[i].id, b.texts[i].id);
    same("a document's size in bytes", a.texts[i].bytes, b.texts[i].bytes);
  }
}

void conclude(Comparison& row, const BootstrapResult& bootstrap, std::size_t num_units,
              bool higher_is_better) {
  row.num_units = static_cast<std::int64_t>(num_units);
  row.difference = row.b - row.a;
  row.interval = bootstrap.interval;
  row.equivalence_margin =
      std::max(std::abs(bootstrap.tost_interval.low), std::abs(bootstrap.tost_interval.high));
  row.separable = row.num_units >= Comparison::kFewestUnits && !row.interval.contains(0.0);
  row.b_better = higher_is_better ? row.difference > 0.0 : row.difference < 0.0;
}

using PairOfPairs = std::pair<const PairRecord*, const PairRecord*>;

double correctness_change(const PairOfPairs& item) {
  return (item.second->correct ? 1.0 : 0.0) - (item.first->correct ? 1.0 : 0.0);
}
double margin_change(const PairOfPairs& item) {
  return (item.second->log_prob[0] - item.second->log_prob[1]) -
         (item.first->log_prob[0] - item.first->log_prob[1]);
}

/// Bootstrap of the mean of `change`: clusters of items, or paradigms and then items.
BootstrapResult bootstrap_change(const std::vector<PairOfPairs>& items, bool macro,
                                 const std::function<double(const PairOfPairs&)>& change,
                                 const BootstrapOptions& options) {
  std::map<std::string, std::vector<double>> groups;
  for (const PairOfPairs& item : items) {
    groups[macro ? item.first->paradigm : item.first->cluster].push_back(change(item));
  }
  if (macro) {
    std::vector<std::vector<double>> values;
    for (auto& [name, group] : groups) {
      values.push_back(std::move(group));
    }
    return bootstrap_groups(values, options);
  }
  std::vector<double> sums;
  std::vector<double> counts;
  for (const auto& [name, group] : groups) {
    sums.push_back(mean(group) * static_cast<double>(group.size()));
    counts.push_back(static_cast<double>(group.size()));
  }
  return bootstrap_ratio(sums, counts, options);
}

/// What bootstrap_change resamples: the mean over items, or over paradigms of their means.
double average(const std::vector<PairOfPairs>& items, bool macro,
               const std::function<double(const PairOfPairs&)>& value) {
  std::map<std::string, std::vector<double>> groups;
  for (const PairOfPairs& item : items) {
    groups[macro ? item.first->paradigm : ""].push_back(value(item));
  }
  std::vector<double> means;
  for (const auto& [name, group] : groups) {
    means.push_back(mean(group));
  }
  return mean(means);
}

Comparison compare_pairs(const TaskHeader& header, const std::string& part,
                         const std::vector<PairOfPairs>& items, const BootstrapOptions& options) {
  Comparison row;
  row.task = header.name;
  row.part = part;
  row.language = header.language;
  row.metric = "acc";
  row.num_items = static_cast<std::int64_t>(items.size());
  const bool macro = header.macro && part.empty();
  row.a = average(items, macro,
                  [](const PairOfPairs& item) { return item.first->correct ? 1.0 : 0.0; });
  row.b = average(items, macro,
                  [](const PairOfPairs& item) { return item.second->correct ? 1.0 : 0.0; });
  std::set<std::string> clusters;
  for (const PairOfPairs& item : items) {
    clusters.insert(item.first->cluster);
  }
  conclude(row, bootstrap_change(items, macro, correctness_change, options),
           macro ? items.size() : clusters.size(), true);
  for (const auto& [a, b] : items) {
    row.retained += a->correct && b->correct ? 1 : 0;
    row.lost += a->correct && !b->correct ? 1 : 0;
    row.gained += !a->correct && b->correct ? 1 : 0;
    row.neither += !a->correct && !b->correct ? 1 : 0;
  }
  row.mcnemar = mcnemar(row.lost, row.gained);
  row.margin_difference = average(items, macro, margin_change);
  row.margin_interval = bootstrap_change(items, macro, margin_change, options).interval;
  return row;
}

std::vector<Comparison> compare_all_pairs(const TaskItems& a, const TaskItems& b,
                                          const BootstrapOptions& options) {
  std::vector<PairOfPairs> all;
  std::map<std::string, std::vector<PairOfPairs>> parts;
  for (std::size_t i = 0; i < a.pairs.size(); ++i) {
    all.emplace_back(&a.pairs[i], &b.pairs[i]);
    if (!a.pairs[i].phenomenon.empty()) {
      parts[a.pairs[i].phenomenon].push_back(all.back());
    }
  }
  std::vector<Comparison> rows = {compare_pairs(a.header, "", all, options)};
  std::vector<double> p_values;
  for (const auto& [name, items] : parts) {
    rows.push_back(compare_pairs(a.header, name, items, options));
    p_values.push_back(rows.back().mcnemar.mid_p);
  }
  const std::vector<double> adjusted = holm(p_values);
  for (std::size_t i = 0; i < adjusted.size(); ++i) {
    rows[i + 1].holm_p = adjusted[i];
  }
  return rows;
}

Comparison compare_texts(const TaskItems& a, const TaskItems& b, const BootstrapOptions& options) {
  Comparison row;
  row.task = a.header.name;
  row.language = a.header.language;
  row.metric = "bits_per_byte";
  row.num_items = static_cast<std::int64_t>(a.texts.size());
  std::vector<double> differences;
  std::vector<double> bytes;
  double bits_a = 0.0;
  double bits_b = 0.0;
  double total = 0.0;
  for (std::size_t i = 0; i < a.texts.size(); ++i) {
    if (a.texts[i].bytes == 0) {
      continue;
    }
    bits_a += a.texts[i].nll / std::numbers::ln2;
    bits_b += b.texts[i].nll / std::numbers::ln2;
    total += static_cast<double>(a.texts[i].bytes);
    differences.push_back((b.texts[i].nll - a.texts[i].nll) / std::numbers::ln2);
    bytes.push_back(static_cast<double>(a.texts[i].bytes));
  }
  GM_CHECK(total > 0.0, kCorrupt, row.task, ": the documents hold no bytes at all");
  row.a = bits_a / total;
  row.b = bits_b / total;
  conclude(row, bootstrap_ratio(differences, bytes, options), differences.size(), false);
  return row;
}

/// null where one unit alone was resampled: it is always drawn, so its interval is a point.
nlohmann::ordered_json figure_json(const Comparison& row, nlohmann::ordered_json figure) {
  return row.num_units < 2 ? nlohmann::ordered_json() : std::move(figure);
}

}  // namespace

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
  GM_CHECK(!a.pairs.empty() || !a.texts.empty(), kInvalidArgument, "comparing task '",
           a.header.name, "': there are no items");
  if (a.header.kind == "bpb") {
    return {compare_texts(a, b, options)};
  }
  return compare_all_pairs(a, b, options);
}

ComparisonTable compare_results(const std::filesystem::path& dir_a,
                                const std::filesystem::path& dir_b,
                                const BootstrapOptions& options) {
  const auto index = [](const std::filesystem::path& dir) {
    return with_context("reading " + (dir / "results.json").string(), [&] {
      try {
        const auto json = nlohmann::json::parse(read_file(dir / "results.json"));
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
