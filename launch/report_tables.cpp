// The tables of a report, and what is written from them for terminals and Markdown.
#include <algorithm>
#include <cmath>
#include <set>

#include "launch/report.h"
#include "launch/stage_driver.h"

namespace growmerge::launch {
namespace {

std::string dash_if_empty(const std::string& text) { return text.empty() ? "–" : text; }

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
      const bool known = std::any_of(out.begin(), out.end(), [&](const eval::TaskHeader& other) {
        return other.name == header.name;
      });
      if (!known && (header.kind == "bpb") == texts) {
        out.push_back(header);
      }
    }
  }
  return out;
}

std::string bracketed(const char* format, double low, double high) {
  return "[" + format_number(format, low) + ", " + format_number(format, high) + "]";
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
  out.note =
      texts ? "Lower is better; 95 % interval by bootstrap over documents."
            : "Chance is 50; 95 % interval of the score itself, items that share a cluster (verb "
              "form, source sentence, paradigm) counting as dependent. Differences between models "
              "are paired: see below.";
  out.columns = {"model"};
  const std::vector<eval::TaskHeader> headers = task_headers(data, texts);
  for (const eval::TaskHeader& header : headers) {
    out.columns.push_back(task_label(header));
  }
  for (const ReportEntry& entry : data.entries) {
    std::vector<std::string> row = {entry.name};
    for (const eval::TaskHeader& header : headers) {
      const eval::TaskSummary* task = entry.results.find(header.name);
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

std::string verdict(const eval::Comparison& row) {
  if (!row.separable) {
    return "not separable";
  }
  return row.b_better ? "better" : "worse";
}

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
          verdict(row)};
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

}  // namespace

std::vector<Table> report_tables(const ReportData& data) {
  const std::string percent = format_number("%g", 100.0 * data.config.confidence) + " %";
  std::vector<Table> all = {models_table(data), score_table(data, true), score_table(data, false)};
  all.push_back(difference_table("Against baselines, paired",
                                 "Model minus baseline on the same items, paired bootstrap, " +
                                     percent +
                                     " interval. Not separable: the interval contains 0, which is "
                                     "no evidence of equality. The "
                                     "interval covers the choice of test items; how training seeds "
                                     "would scatter is not in it.",
                                 against_others(data)));
  all.push_back(difference_table(
      "Source language (" + data.config.source_language + ") kept or lost",
      "Model minus its unadapted base, on the tasks of the source language.", data.against_base));
  all.push_back(difference_table("Merge against joint", "Merged model minus jointly trained model.",
                                 merge_against_joint(data)));
  std::vector<Table> out;
  for (Table& table : all) {
    if (!table.rows.empty()) {
      for (std::string& column : table.columns) {
        if (column == "95 % interval") {
          column = percent + " interval";
        }
      }
      out.push_back(std::move(table));
    }
  }
  return out;
}

std::string report_text(const ReportData& data) {
  std::string out = data.config.title + "\n";
  for (const Table& table : report_tables(data)) {
    out += "\n" + table_text(table);
  }
  for (const auto& [name, texts] : data.samples) {
    out += "\nsampled: " + name + "\n";
    for (const std::string& text : texts) {
      std::string line = text.substr(0, 240);
      while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xC0) == 0x80 &&
             line.size() < text.size()) {
        line.pop_back();  // no half of a letter at the cut
      }
      std::replace(line.begin(), line.end(), '\n', ' ');
      out += "  | " + line + "\n";
    }
  }
  return out;
}

std::string report_markdown(const ReportData& data) {
  std::string out = "# " + data.config.title + "\n";
  for (const Table& table : report_tables(data)) {
    out += "\n" + table_markdown(table);
  }
  return out;
}

}  // namespace growmerge::launch
