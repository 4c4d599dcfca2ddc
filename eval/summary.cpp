#include <cmath>
#include <map>
#include <numbers>

#include "core/base/error.h"
#include "eval/bits_per_byte.h"
#include "eval/pair_scorer.h"
#include "eval/results.h"

namespace growmerge::eval {
namespace {

using Pairs = std::vector<const PairRecord*>;

std::vector<double> correctness(const Pairs& items) {
  std::vector<double> values;
  values.reserve(items.size());
  for (const PairRecord* item : items) {
    values.push_back(item->correct ? 1.0 : 0.0);
  }
  return values;
}

/// Accuracy under another normalisation and the task's rule for ties.
double accuracy(const Pairs& items, PairRules rules, const char* normalisation) {
  rules.normalisation = normalisation;
  std::int64_t correct = 0;
  for (const PairRecord* item : items) {
    PairRecord copy = *item;
    decide(copy, rules);
    correct += copy.correct ? 1 : 0;
  }
  return static_cast<double>(correct) / static_cast<double>(items.size());
}

bool scores_tokens(const Pairs& items) {
  for (const PairRecord* item : items) {
    if (item->tokens[0] == 0 || item->tokens[1] == 0) {
      return false;
    }
  }
  return true;
}

/// The figures of items that count alike.
TaskSummary summarise_flat(const std::string& name, const Pairs& items, const TaskHeader& header) {
  TaskSummary summary{name, static_cast<std::int64_t>(items.size()), {}, {}, {}};
  const std::vector<double> correct = correctness(items);
  std::vector<std::string> clusters;
  std::vector<double> margins;
  double ties = 0.0;
  double windowed = 0.0;
  for (const PairRecord* item : items) {
    clusters.push_back(item->cluster);
    margins.push_back(item->log_prob[0] - item->log_prob[1]);
    ties += item->tie ? 1.0 : 0.0;
    windowed += item->windowed ? 1.0 : 0.0;
  }
  const double acc = mean(correct);
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
  return summary;
}

std::vector<TaskSummary> summarise_by(const std::vector<PairRecord>& items,
                                      const TaskHeader& header, const std::string& front,
                                      std::string PairRecord::*member) {
  std::map<std::string, Pairs> parts;
  for (const PairRecord& item : items) {
    if (!(item.*member).empty()) {
      parts[item.*member].push_back(&item);
    }
  }
  std::vector<TaskSummary> summaries;
  for (const auto& [name, part] : parts) {
    summaries.push_back(summarise_flat(front + name, part, header));
  }
  return summaries;
}

/// Means over paradigms, each weighing the same.
TaskSummary summarise_macro(const TaskItems& items) {
  const TaskHeader& header = items.header;
  TaskSummary summary{header.name, static_cast<std::int64_t>(items.pairs.size()), {}, {}, {}};
  summary.paradigms = summarise_by(items.pairs, header, header.name + "_", &PairRecord::paradigm);
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
  std::map<std::string, std::vector<double>> by_paradigm;
  for (const PairRecord& item : items.pairs) {
    by_paradigm[item.paradigm].push_back(item.correct ? 1.0 : 0.0);
  }
  std::vector<std::vector<double>> groups;
  for (auto& [name, group] : by_paradigm) {
    groups.push_back(std::move(group));
  }
  const BootstrapResult bootstrap = bootstrap_groups(groups, header.bootstrap);
  summary.metrics = {{"acc", mean(accuracies)},
                     {"acc_stderr", pooled_standard_error(errors, sizes)},
                     {"acc_clustered_stderr", standard_error(accuracies)},
                     {"acc_ci_low", bootstrap.interval.low},
                     {"acc_ci_high", bootstrap.interval.high}};
  // The rest: plain means of the paradigms' figures; counts add up.
  for (const char* name : {"acc_sum", "acc_norm", "acc_bytes", "acc_token", "margin"}) {
    std::vector<double> values;
    for (const TaskSummary& paradigm : summary.paradigms) {
      if (paradigm.has(name)) {
        values.push_back(paradigm.metric(name));
      }
    }
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

TaskSummary summarise_texts(const TaskItems& items) {
  const TaskHeader& header = items.header;
  TaskSummary summary{header.name, static_cast<std::int64_t>(items.texts.size()), {}, {}, {}};
  const TextTotals totals = total(items.texts);
  GM_CHECK(totals.bytes > 0, kCorrupt, header.name, ": the documents hold no bytes at all");
  std::vector<double> bits;
  std::vector<double> bytes;
  for (const TextRecord& item : items.texts) {
    if (item.bytes > 0) {
      bits.push_back(item.nll / std::numbers::ln2);
      bytes.push_back(static_cast<double>(item.bytes));
    }
  }
  const BootstrapResult bootstrap = bootstrap_ratio(bits, bytes, header.bootstrap);
  summary.metrics = {{"bits_per_byte", totals.bits_per_byte()},
                     {"bits_per_byte_stderr", bootstrap.standard_error},
                     {"bits_per_byte_ci_low", bootstrap.interval.low},
                     {"bits_per_byte_ci_high", bootstrap.interval.high},
                     {"token_perplexity", totals.token_perplexity()},
                     {"byte_perplexity", totals.byte_perplexity()}};
  if (totals.words > 0) {
    summary.metrics.emplace_back("word_perplexity", totals.word_perplexity());
  }
  summary.metrics.insert(summary.metrics.end(),
                         {{"nll", totals.nll},
                          {"tokens", static_cast<double>(totals.tokens)},
                          {"characters", static_cast<double>(totals.characters)},
                          {"words", static_cast<double>(totals.words)},
                          {"bytes", static_cast<double>(totals.bytes)}});
  return summary;
}

}  // namespace

TaskSummary summarise(const TaskItems& items) {
  const TaskHeader& header = items.header;
  GM_CHECK(!items.pairs.empty() || !items.texts.empty(), kCorrupt, header.name,
           ": there are no items");
  if (header.kind == "bpb") {
    return summarise_texts(items);
  }
  TaskSummary summary;
  if (header.macro) {
    summary = summarise_macro(items);
  } else {
    Pairs all;
    for (const PairRecord& item : items.pairs) {
      all.push_back(&item);
    }
    summary = summarise_flat(header.name, all, header);
  }
  summary.phenomena = summarise_by(items.pairs, header, "", &PairRecord::phenomenon);
  return summary;
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

}  // namespace growmerge::eval
