// The report: result directories, manifests and training metrics of an experiment -> tables and one
// self-contained HTML page.
//
// Every figure is recomputed from the items (eval/results.h); every difference is paired, with a
// bootstrap interval, and is called "not separable" where that interval contains 0. A difference
// between two trained models says something about these two models: their seeds were not varied
// unless the experiment did so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "eval/compare.h"
#include "eval/results.h"
#include "launch/report/table.h"

namespace growmerge::launch {

struct ReportModel {
  std::string role;
  std::string language;
  std::string setup;
  std::vector<std::string> baselines;
  std::string base;

  void describe(FieldVisitor& v) {
    v("role", role, "", "base, grown, adapted, joint or merge: shown, and decides the tables");
    v("language", language, "", "the language it was adapted to; empty: several");
    v("setup", setup, "", "1x, 1x-cloned, 2x, ...: shown");
    v("baselines", baselines, "", "models that it is compared with, paired, task by task");
    v("base", base, "", "the unadapted model it is held against; empty: the report's `base`");
  }
};

struct ReportConfig {
  std::string title = "growmerge report";
  std::vector<std::string> results;
  std::map<std::string, ReportModel> models;
  std::string base;
  std::string source_language = "en";
  std::vector<std::string> samples;
  std::int64_t bootstrap_resamples = 2000;
  double confidence = 0.95;
  std::int64_t seed = 0;

  void describe(FieldVisitor& v) {
    v("title", title, "", "of the page");
    v("results", results, "", "directories of eval stages", v.kInput);
    v("models", models, "",
      "what each evaluated model is; those not named are compared with `base`");
    v("base", base, "", "the unadapted model; empty: the first of role base, else the first");
    v("source_language", source_language, "", "whose loss is watched: label of its tasks");
    v("samples", samples, "", "directories of generate stages; their first samples are shown",
      v.kInput);
    v("bootstrap_resamples", bootstrap_resamples, "", "resamples of every paired interval");
    v("confidence", confidence, "", "of the intervals");
    v("seed", seed, "", "of the bootstrap");
  }
};

/// What is known of one evaluated model.
struct ReportEntry {
  std::string name;
  ReportModel model;
  std::filesystem::path results_dir;
  std::filesystem::path checkpoint;  // may be gone
  eval::Results results;
  bool has_manifest = false;
  double flops_total = 0.0;
  double flops_sunk = 0.0;
  double flops_since_growth = 0.0;
  std::int64_t tokens_total = 0;
  std::vector<std::map<std::string, double>> metrics;  // lines of metrics.jsonl
};

struct ReportComparison {
  std::string baseline;
  std::string model;
  std::vector<eval::Comparison> rows;  // whole tasks; a = baseline, b = model
};

struct ReportData {
  ReportConfig config;
  std::string base;
  std::vector<ReportEntry> entries;
  std::vector<ReportComparison> against_baselines;
  std::vector<ReportComparison> against_base;  // tasks of the source language
  std::vector<std::pair<std::string, std::vector<std::string>>> samples;

  [[nodiscard]] const ReportEntry& entry(const std::string& name) const;
  /// Whether the config does not name the model: it is then compared with the base on every task.
  [[nodiscard]] bool says_nothing_of(const std::string& name) const;
};

/// Reads and compares. Errors: kNotFound naming the directory without results; kInvalidArgument
/// naming a model of the config that was not evaluated.
[[nodiscard]] ReportData collect_report(const ReportConfig& config);

/// The models, and their scores.
[[nodiscard]] std::vector<Table> score_tables(const ReportData& data);
/// Differences of two models, paired: may be long.
[[nodiscard]] std::vector<Table> difference_tables(const ReportData& data);
/// For a terminal: the scores, the differences in bits per byte that the study is about, samples.
[[nodiscard]] std::string report_text(const ReportData& data);
/// All tables.
[[nodiscard]] std::string report_markdown(const ReportData& data);
[[nodiscard]] std::string report_html(const ReportData& data);

/// At most `max_bytes` of a UTF-8 text, cut between two characters.
[[nodiscard]] std::string first_bytes(const std::string& text, std::size_t max_bytes);

}  // namespace growmerge::launch
