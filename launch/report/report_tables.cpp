// The tables of a report, and what is written from them for terminals and Markdown.
#include <algorithm>
#include <functional>

#include "core/base/format.h"
#include "eval/tasks/kind.h"
#include "launch/report/report.h"

namespace growmerge::launch {
namespace {

std::string dash_if_empty(const std::string& text) { return text.empty() ? "–" : text; }

/// The language is added where the name does not show it.
std::string task_label(const eval::TaskHeader& header) {
  return header.language.empty() || header.name.find(header.language) != std::string::npos
             ? header.name
             : header.name + " (" + header.language + ")";
}

/// Headers of all tasks of a kind, in the order in which results name them.
std::vector<eval::TaskHeader> task_headers(const ReportData& data, bool texts) {
  std::vector<eval::TaskHeader> out;
  for (const ReportEntry& entry : data.entries) {
    for (const eval::TaskHeader& header : entry.results.headers) {
      // Models need not have been evaluated on the same tasks; a table has the union.
      const bool known = std::any_of(out.begin(), out.end(), [&](const eval::TaskHeader& other) {
        return other.name == header.name;
      });
      if (!known && (eval::headline_metric(header) == "bits_per_byte") == texts) {
        out.push_back(header);
      }
    }
  }
  return out;
}

std::string bracketed(const char* format, double low, double high) {
  return "[" + format_number(format, low) + ", " + format_number(format, high) + "]";
}

std::string percent_text(double confidence) {
  return format_number("%g", 100.0 * confidence) + " %";
}

Table models_table(const ReportData& data) {
  Table out;
  out.title = "Models";
  out.note =
      "FLOPs are 3 x forward with causal attention and the head. Since growth: from the last "
      "growth "
      "on, or from the base where the model was not grown. Sunk: spent before that.";
  out.columns = {"model", "role", "setup", "language", "since growth", "sunk", "total", "tokens"};
  out.first_number = 4;
  for (const ReportEntry& entry : data.entries) {
    // So that the columns add up whichever of the two starts the model has.
    const double sunk = entry.flops_total - entry.flops_since_growth;
    out.rows.push_back({entry.name, dash_if_empty(entry.model.role),
                        dash_if_empty(entry.model.setup), dash_if_empty(entry.model.language),
                        entry.has_manifest ? format_flops(entry.flops_since_growth) : "unknown",
                        entry.has_manifest ? format_flops(sunk) : "unknown",
                        entry.has_manifest ? format_flops(entry.flops_total) : "unknown",
                        entry.has_manifest ? format_count(entry.tokens_total) : "unknown"});
  }
  return out;
}

Table score_table(const ReportData& data, bool texts) {
  Table out;
  out.title = texts ? "Bits per byte" : "Accuracy on minimal pairs (%)";
  const std::vector<eval::TaskHeader> headers = task_headers(data, texts);
  const std::string percent =
      headers.empty() ? "" : percent_text(headers.front().bootstrap.confidence);
  out.note = texts ? "Lower is better; " + percent + " interval by bootstrap over documents."
                   : "A coin gets 50, word frequency alone may get more; " + percent +
                         " interval of the score itself, items that share a cluster (verb form, "
                         "source sentence, paradigm) counting as dependent. Differences between "
                         "models are paired: see below.";
  out.columns = {"model"};
  for (const eval::TaskHeader& header : headers) {
    out.columns.push_back(task_label(header));
  }
  for (const ReportEntry& entry : data.entries) {
    std::vector<std::string> row = {entry.name};
    for (const eval::TaskHeader& header : headers) {
      const eval::TaskSummary* task = entry.results.find(header.name);
      // Not evaluated is not zero.
      if (task == nullptr) {
        row.emplace_back("–");
      } else if (texts) {
        row.push_back(format_number("%.3f ", task->metric("bits_per_byte")) +
                      bracketed("%.3f", task->metric("bits_per_byte_ci_low"),
                                task->metric("bits_per_byte_ci_high")));
      } else {
        row.push_back(format_number("%.1f ", 100.0 * task->metric("acc")) +
                      bracketed("%.1f", 100.0 * task->metric("acc_ci_low"),
                                100.0 * task->metric("acc_ci_high")));
      }
    }
    out.rows.push_back(std::move(row));
  }
  if (headers.empty()) {
    out.rows.clear();
  }
  return out;
}

/// Accuracy in points, text in bits per byte: better is up in one and down in the other, which the
/// verdict says.
std::vector<std::string> difference_cells(const eval::Comparison& row) {
  const bool accuracy = row.metric == "acc";
  const double scale = accuracy ? 100.0 : 1.0;
  const char* format = accuracy ? "%.1f" : "%.3f";
  const char* signed_format = accuracy ? "%+.1f" : "%+.3f";
  return {accuracy ? "accuracy, points" : "bits per byte",
          format_number(format, scale * row.a),
          format_number(format, scale * row.b),
          format_number(signed_format, scale * row.difference),
          bracketed(signed_format, scale * row.interval.low, scale * row.interval.high),
          row.verdict("better", "worse")};
}

Table difference_table(const std::string& title, const std::string& note,
                       const std::vector<ReportComparison>& comparisons) {
  Table out;
  out.title = title;
  out.note = note;
  out.columns = {"model", "against",    "task",          "unit",   "baseline's",
                 "its",   "difference", "95 % interval", "verdict"};
  out.first_number = 4;
  for (const ReportComparison& comparison : comparisons) {
    for (const eval::Comparison& row : comparison.rows) {
      std::vector<std::string> cells = {comparison.model, comparison.baseline, row.task};
      for (std::string& cell : difference_cells(row)) {
        cells.push_back(std::move(cell));
      }
      out.rows.push_back(std::move(cells));
    }
  }
  return out;
}

/// A merge and a joint model: these have a table of their own.
// The study's question, so it is not lost among the other baselines.
bool is_merge_against_joint(const ReportData& data, const ReportComparison& comparison) {
  return data.entry(comparison.model).model.role == "merge" &&
         data.entry(comparison.baseline).model.role == "joint";
}

std::vector<ReportComparison> merge_against_joint(const ReportData& data) {
  std::vector<ReportComparison> out;
  for (const ReportComparison& comparison : data.against_baselines) {
    if (is_merge_against_joint(data, comparison)) {
      out.push_back(comparison);
    }
  }
  return out;
}

std::vector<ReportComparison> against_others(const ReportData& data) {
  std::vector<ReportComparison> out;
  for (const ReportComparison& comparison : data.against_baselines) {
    if (!is_merge_against_joint(data, comparison)) {
      out.push_back(comparison);
    }
  }
  return out;
}

/// A table of paired differences with the report's confidence in its head.
Table paired_table(const ReportData& data, const std::string& title, const std::string& note,
                   const std::vector<ReportComparison>& comparisons) {
  Table out = difference_table(title, note, comparisons);
  out.columns[7] = percent_text(data.config.confidence) + " interval";
  return out;
}

std::vector<Table> without_empty(std::vector<Table> tables) {
  std::erase_if(tables, [](const Table& table) { return table.rows.empty(); });
  return tables;
}

std::string source_title(const ReportData& data) {
  return "Source language (" + data.config.source_language + ") kept or lost";
}

/// The rows that `wanted` takes; comparisons left without any are dropped.
std::vector<ReportComparison> rows_of(
    const std::vector<ReportComparison>& comparisons,
    const std::function<bool(const ReportComparison&, const eval::Comparison&)>& wanted) {
  std::vector<ReportComparison> out;
  for (const ReportComparison& comparison : comparisons) {
    ReportComparison part = comparison;
    std::erase_if(part.rows, [&](const eval::Comparison& row) { return !wanted(comparison, row); });
    if (!part.rows.empty()) {
      out.push_back(std::move(part));
    }
  }
  return out;
}

/// What fits a terminal: the scores, and of the differences those of bits per byte that the study
/// is about.
std::vector<Table> short_tables(const ReportData& data) {
  const auto bits = [](const ReportComparison&, const eval::Comparison& row) {
    return row.metric == "bits_per_byte";
  };
  // Of a model that nobody described, every language but the source is its own.
  const auto own_language = [&](const ReportComparison& comparison, const eval::Comparison& row) {
    const std::string& language = data.entry(comparison.model).model.language;
    const bool is_own = data.says_nothing_of(comparison.model)
                            ? row.language != data.config.source_language
                            : !language.empty() && row.language == language;
    return row.metric == "bits_per_byte" && is_own;
  };
  return without_empty(
      {models_table(data), score_table(data, true), score_table(data, false),
       paired_table(data, "Adapted models in their language, against their baselines", "",
                    rows_of(against_others(data), own_language)),
       paired_table(data, source_title(data), "", rows_of(data.against_base, bits)),
       paired_table(data, "Merge against joint", "", rows_of(merge_against_joint(data), bits))});
}

}  // namespace

std::string first_bytes(const std::string& text, std::size_t max_bytes) {
  std::size_t size = std::min(max_bytes, text.size());
  while (size > 0 && size < text.size() &&
         (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) {
    --size;
  }
  return text.substr(0, size);
}

std::vector<Table> score_tables(const ReportData& data) {
  return without_empty({models_table(data), score_table(data, true), score_table(data, false)});
}

std::vector<Table> difference_tables(const ReportData& data) {
  return without_empty(
      {paired_table(data, "Against baselines, paired",
                    "Model minus baseline on the same items, paired bootstrap, " +
                        percent_text(data.config.confidence) +
                        " interval of each difference by itself: of many comparisons some are "
                        "separable by chance. Not separable: the interval contains 0, which is no "
                        "evidence of equality. The interval covers the choice of test items; how "
                        "training seeds would scatter is not in it.",
                    against_others(data)),
       paired_table(data, source_title(data),
                    "Model minus its unadapted base, on the tasks of the source language.",
                    data.against_base),
       paired_table(data, "Merge against joint", "Merged model minus jointly trained model.",
                    merge_against_joint(data))});
}

std::string report_text(const ReportData& data) {
  std::string out = data.config.title + "\n";
  for (const Table& table : short_tables(data)) {
    out += "\n" + table_text(table);
  }
  for (const auto& [name, texts] : data.samples) {
    out += "\nsampled: " + name + "\n";
    for (const std::string& text : texts) {
      std::string line = first_bytes(text, 240);
      // One line each: samples are here to be glanced at.
      std::replace(line.begin(), line.end(), '\n', ' ');
      out += "  | " + line + "\n";
    }
  }
  return out + "\nAll comparisons stand in report.md and report.html.\n";
}

std::string report_markdown(const ReportData& data) {
  std::string out = "# " + markdown_escape(data.config.title) + "\n";
  for (const auto& tables : {score_tables(data), difference_tables(data)}) {
    for (const Table& table : tables) {
      out += "\n" + table_markdown(table);
    }
  }
  return out;
}

}  // namespace growmerge::launch
