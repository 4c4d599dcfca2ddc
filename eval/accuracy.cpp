#include "eval/accuracy.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "core/base/error.h"
#include "eval/choice_scorer.h"

namespace growmerge::eval {
namespace {

using Items = std::vector<const ItemRecord*>;

std::vector<double> correctness(const Items& items) {
  std::vector<double> values;
  values.reserve(items.size());
  for (const ItemRecord* item : items) {
    values.push_back(item->correct ? 1.0 : 0.0);
  }
  return values;
}

/// Accuracy under another normalisation and the task's rule for ties.
double accuracy(const Items& items, ScoringRules rules, const char* normalisation) {
  rules.normalisation = normalisation;
  std::int64_t correct = 0;
  for (const ItemRecord* item : items) {
    correct += rank_of_gold(*item, rules) == 1 ? 1 : 0;
  }
  return static_cast<double>(correct) / static_cast<double>(items.size());
}

// A text of which no token is scored has no score per token: the figure is then left out.
bool scores_tokens(const Items& items) {
  for (const ItemRecord* item : items) {
    if (std::count(item->tokens.begin(), item->tokens.end(), 0) > 0) {
      return false;
    }
  }
  return true;
}

/// A figure of one item, of which the mean is reported.
struct ItemFigure {
  const char* name;
  double (*of)(const ItemRecord& item, const ScoringRules& rules);
};
using ItemFigures = std::vector<ItemFigure>;

/// The figures of items that count alike.
TaskSummary summarise_flat(const std::string& name, const Items& items, const TaskHeader& header,
                           const ItemFigures& more) {
  TaskSummary summary{name, static_cast<std::int64_t>(items.size()), {}, {}, {}};
  const std::vector<double> correct = correctness(items);
  std::vector<std::string> clusters;
  std::vector<double> margins;
  double ties = 0.0;
  double windowed = 0.0;
  for (const ItemRecord* item : items) {
    clusters.push_back(item->cluster);
    margins.push_back(item->margin());
    ties += item->tie ? 1.0 : 0.0;
    windowed += item->windowed ? 1.0 : 0.0;
  }
  const double acc = mean(correct);
  // Wilson's interval of as many independent items as these clustered ones are worth.
  const Interval wilson =
      wilson_interval(acc, effective_sample_size(correct, clusters), header.bootstrap.confidence);
  summary.metrics = {{"acc", acc},
                     {"acc_stderr", standard_error(correct)},
                     {"acc_clustered_stderr", clustered_standard_error(correct, clusters)},
                     {"acc_ci_low", wilson.low},
                     {"acc_ci_high", wilson.high},
                     {"acc_sum", accuracy(items, header.rules, "sum")},
                     {"acc_norm", accuracy(items, header.rules, "character")},
                     {"acc_bytes", accuracy(items, header.rules, "byte")}};
  if (scores_tokens(items)) {
    summary.metrics.emplace_back("acc_token", accuracy(items, header.rules, "token"));
  }
  summary.metrics.insert(summary.metrics.end(), {{"margin", mean(margins)},
                                                 {"margin_stderr", standard_error(margins)},
                                                 {"ties", ties},
                                                 {"windowed", windowed}});
  for (const ItemFigure& figure : more) {
    double sum = 0.0;
    for (const ItemRecord* item : items) {
      sum += figure.of(*item, header.rules);
    }
    summary.metrics.emplace_back(figure.name, sum / static_cast<double>(items.size()));
  }
  return summary;
}

std::vector<TaskSummary> summarise_by(const std::vector<ItemRecord>& items,
                                      const TaskHeader& header, const std::string& front,
                                      std::string ItemRecord::*member, const ItemFigures& more) {
  std::map<std::string, Items> parts;
  for (const ItemRecord& item : items) {
    // Items that name none are in the whole alone.
    if (!(item.*member).empty()) {
      parts[item.*member].push_back(&item);
    }
  }
  std::vector<TaskSummary> summaries;
  for (const auto& [name, part] : parts) {
    summaries.push_back(summarise_flat(front + name, part, header, more));
  }
  return summaries;
}

/// Means over paradigms, each weighing the same.
TaskSummary summarise_macro(const TaskItems& items, const ItemFigures& more) {
  const TaskHeader& header = items.header;
  TaskSummary summary{header.name, static_cast<std::int64_t>(items.records.size()), {}, {}, {}};
  summary.paradigms =
      summarise_by(items.records, header, header.name + "_", &ItemRecord::paradigm, more);
  GM_CHECK(!summary.paradigms.empty(), kCorrupt, header.name,
           ": the mean over paradigms is asked for, but no item names one");

  std::vector<double> accuracies;
  std::vector<double> errors;
  std::vector<std::int64_t> sizes;
  for (const TaskSummary& paradigm : summary.paradigms) {
    accuracies.push_back(paradigm.metric("acc"));
    errors.push_back(paradigm.metric("acc_stderr"));
    sizes.push_back(paradigm.num_items);
  }
  // Sorted by name, as the summaries are, so that resampling is the same for any order of items.
  std::map<std::string, std::vector<double>> by_paradigm;
  for (const ItemRecord& item : items.records) {
    by_paradigm[item.paradigm].push_back(item.correct ? 1.0 : 0.0);
  }
  std::vector<std::vector<double>> groups;
  for (auto& [name, group] : by_paradigm) {
    groups.push_back(std::move(group));
  }
  // Two levels: other paradigms could have been chosen, and other items of them.
  const BootstrapResult bootstrap = bootstrap_groups(groups, header.bootstrap);
  summary.metrics = {{"acc", mean(accuracies)},
                     {"acc_stderr", pooled_standard_error(errors, sizes)},
                     {"acc_clustered_stderr", standard_error(accuracies)},
                     {"acc_ci_low", bootstrap.interval.low},
                     {"acc_ci_high", bootstrap.interval.high}};
  // The rest: plain means of the paradigms' figures; counts add up.
  std::vector<const char*> names = {"acc_sum", "acc_norm", "acc_bytes", "acc_token", "margin"};
  for (const ItemFigure& figure : more) {
    names.push_back(figure.name);
  }
  for (const char* name : names) {
    std::vector<double> values;
    for (const TaskSummary& paradigm : summary.paradigms) {
      if (paradigm.has(name)) {
        values.push_back(paradigm.metric(name));
      }
    }
    // A mean over some of the paradigms would be another figure under the same name.
    if (values.size() == summary.paradigms.size()) {
      summary.metrics.emplace_back(name, mean(values));
    }
  }
  for (const char* name : {"ties", "windowed"}) {
    double sum = 0.0;
    for (const TaskSummary& paradigm : summary.paradigms) {
      sum += paradigm.metric(name);
    }
    summary.metrics.emplace_back(name, sum);
  }
  return summary;
}

TaskSummary summarise_with(const TaskItems& items, const ItemFigures& more) {
  const TaskHeader& header = items.header;
  TaskSummary summary;
  if (header.macro) {
    summary = summarise_macro(items, more);
  } else {
    Items all;
    for (const ItemRecord& item : items.records) {
      all.push_back(&item);
    }
    summary = summarise_flat(header.name, all, header, more);
  }
  summary.phenomena = summarise_by(items.records, header, "", &ItemRecord::phenomenon, more);
  return summary;
}

/// One item under two models.
using Both = std::pair<const ItemRecord*, const ItemRecord*>;

double correctness_change(const Both& item) {
  return (item.second->correct ? 1.0 : 0.0) - (item.first->correct ? 1.0 : 0.0);
}
double margin_change(const Both& item) { return item.second->margin() - item.first->margin(); }

/// Bootstrap of the mean of `change`: clusters of items, or paradigms and then items.
BootstrapResult bootstrap_change(const std::vector<Both>& items, bool macro,
                                 const std::function<double(const Both&)>& change,
                                 const BootstrapOptions& options) {
  std::map<std::string, std::vector<double>> groups;
  for (const Both& item : items) {
    groups[macro ? item.first->paradigm : item.first->cluster].push_back(change(item));
  }
  // Both models share every drawn index, since it is the change that is resampled.
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
    // A drawn cluster brings all its items: the mean is a ratio of two sums.
    sums.push_back(mean(group) * static_cast<double>(group.size()));
    counts.push_back(static_cast<double>(group.size()));
  }
  return bootstrap_ratio(sums, counts, options);
}

/// What bootstrap_change resamples: the mean over items, or over paradigms of their means.
double average(const std::vector<Both>& items, bool macro,
               const std::function<double(const Both&)>& value) {
  std::map<std::string, std::vector<double>> groups;
  for (const Both& item : items) {
    groups[macro ? item.first->paradigm : ""].push_back(value(item));
  }
  std::vector<double> means;
  for (const auto& [name, group] : groups) {
    means.push_back(mean(group));
  }
  return mean(means);
}

Comparison compare_part(const TaskHeader& header, const std::string& part,
                        const std::vector<Both>& items, const BootstrapOptions& options) {
  Comparison row;
  row.task = header.name;
  row.part = part;
  row.language = header.language;
  row.metric = "acc";
  row.num_items = static_cast<std::int64_t>(items.size());
  // A phenomenon is a part of its own: its items all weigh the same.
  const bool macro = header.macro && part.empty();
  row.a = average(items, macro, [](const Both& item) { return item.first->correct ? 1.0 : 0.0; });
  row.b = average(items, macro, [](const Both& item) { return item.second->correct ? 1.0 : 0.0; });
  std::set<std::string> clusters;
  for (const Both& item : items) {
    clusters.insert(item.first->cluster);
  }
  row.conclude(bootstrap_change(items, macro, correctness_change, options),
               macro ? items.size() : clusters.size(), true);
  for (const auto& [a, b] : items) {
    row.retained += a->correct && b->correct ? 1 : 0;
    row.lost += a->correct && !b->correct ? 1 : 0;
    row.gained += !a->correct && b->correct ? 1 : 0;
    row.neither += !a->correct && !b->correct ? 1 : 0;
  }
  // Items that both get right or wrong say nothing of the difference.
  row.mcnemar = mcnemar(row.lost, row.gained);
  row.margin_difference = average(items, macro, margin_change);
  row.margin_interval = bootstrap_change(items, macro, margin_change, options).interval;
  return row;
}

}  // namespace

TaskSummary summarise_accuracy(const TaskItems& items) { return summarise_with(items, {}); }

TaskSummary summarise_ranking(const TaskItems& items) {
  return summarise_with(items, {{"mrr",
                                 [](const ItemRecord& item, const ScoringRules& rules) {
                                   return 1.0 / static_cast<double>(rank_of_gold(item, rules));
                                 }},
                                {"chance", [](const ItemRecord& item, const ScoringRules&) {
                                   return 1.0 / static_cast<double>(item.log_prob.size());
                                 }}});
}

std::vector<Comparison> compare_accuracy(const TaskItems& a, const TaskItems& b,
                                         const BootstrapOptions& options) {
  std::vector<Both> all;
  std::map<std::string, std::vector<Both>> parts;
  for (std::size_t i = 0; i < a.records.size(); ++i) {
    all.emplace_back(&a.records[i], &b.records[i]);
    if (!a.records[i].phenomenon.empty()) {
      parts[a.records[i].phenomenon].push_back(all.back());
    }
  }
  std::vector<Comparison> rows = {compare_part(a.header, "", all, options)};
  std::vector<double> p_values;
  for (const auto& [name, items] : parts) {
    rows.push_back(compare_part(a.header, name, items, options));
    p_values.push_back(rows.back().mcnemar.mid_p);
  }
  // Over phenomena alone: the whole task is one claim.
  const std::vector<double> adjusted = holm(p_values);
  for (std::size_t i = 0; i < adjusted.size(); ++i) {
    rows[i + 1].holm_p = adjusted[i];
  }
  return rows;
}

}  // namespace growmerge::eval
