// Collecting what a report shows.
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/store/manifest.h"
#include "launch/report/report.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Children in the order in which eval was given its models, where its manifest tells; then by
/// name.
void sort_as_evaluated(const fs::path& dir, std::vector<fs::path>& children) {
  std::sort(children.begin(), children.end());
  const auto manifest = believed_manifest(dir);
  if (!manifest || manifest->stage != "eval") {
    return;
  }
  const auto place = [&inputs = manifest->inputs](const fs::path& child) {
    return std::find_if(inputs.begin(), inputs.end(),
                        [&child](const InputRecord& input) {
                          return input.role == "model " + child.filename().string();
                        }) -
           inputs.begin();
  };
  std::stable_sort(children.begin(), children.end(),
                   [&place](const fs::path& a, const fs::path& b) { return place(a) < place(b); });
}

/// The directory itself, or its children, that hold results.json.
std::vector<fs::path> result_directories(const fs::path& dir) {
  GM_CHECK(fs::is_directory(dir), kNotFound, "report: no directory '", dir.string(), "'");
  std::vector<fs::path> out;
  if (fs::exists(dir / "results.json")) {
    return {dir};
  }
  std::vector<fs::path> inside;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.is_directory() && entry.path().extension() != ".tmp") {
      inside.push_back(entry.path());
    }
  }
  sort_as_evaluated(dir, inside);
  for (const fs::path& child : inside) {
    if (fs::exists(child / "results.json")) {
      out.push_back(child);
    }
  }
  if (out.empty()) {  // an experiment's directory: look into its eval stages
    for (const fs::path& child : inside) {
      const auto manifest = read_manifest(child);
      if (manifest && manifest->stage == "eval") {
        const auto deeper = result_directories(child);
        out.insert(out.end(), deeper.begin(), deeper.end());
      }
    }
  }
  GM_CHECK(!out.empty(), kNotFound, "report: '", dir.string(),
           "' holds no results.json: give the directories that eval wrote");
  return out;
}

/// Where a model's checkpoint is now: as recorded, or beside the results when an experiment has
/// moved.
fs::path find_checkpoint(const fs::path& recorded, const fs::path& results_dir) {
  if (fs::exists(recorded / "config.json")) {
    return recorded;
  }
  for (fs::path up = results_dir.parent_path(); up.has_relative_path(); up = up.parent_path()) {
    const fs::path moved = up / recorded.filename();
    if (fs::exists(moved / "config.json")) {
      return moved;
    }
  }
  return recorded;
}

/// Numbers alone are plotted; a line cut by a crash is passed over.
std::vector<std::map<std::string, double>> read_metrics(const fs::path& checkpoint) {
  std::vector<std::map<std::string, double>> out;
  std::ifstream in(checkpoint / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) {
      continue;
    }
    std::map<std::string, double> row;
    for (const auto& [key, value] : json.items()) {
      if (value.is_number()) {
        row[key] = value.get<double>();
      }
    }
    out.push_back(std::move(row));
  }
  return out;
}

/// An outside model has results but no manifest: its costs are unknown, which the tables say.
ReportEntry read_entry(const fs::path& dir, const ReportConfig& config) {
  ReportEntry out;
  out.results_dir = dir;
  out.results = eval::read_results(dir);
  out.name = out.results.model.name;
  out.checkpoint = find_checkpoint(out.results.model.path, dir);
  if (const auto it = config.models.find(out.name); it != config.models.end()) {
    out.model = it->second;
  }
  if (const auto manifest = read_manifest(out.checkpoint)) {
    out.has_manifest = true;
    out.flops_total = manifest->flops_total;
    out.flops_sunk = manifest->flops_sunk;
    out.tokens_total = manifest->tokens_total;
  }
  out.metrics = read_metrics(out.checkpoint);
  return out;
}

std::string find_base(const ReportConfig& config, const std::vector<ReportEntry>& entries) {
  // The first one is a guess that is right where a person lists the unadapted model first.
  if (!config.base.empty()) {
    return config.base;
  }
  const auto it = std::find_if(entries.begin(), entries.end(),
                               [](const ReportEntry& e) { return e.model.role == "base"; });
  return it != entries.end() ? it->name : entries.front().name;
}

ReportComparison compare(const ReportEntry& baseline, const ReportEntry& model,
                         const ReportConfig& config, const std::string& language) {
  const eval::BootstrapOptions options{.resamples = config.bootstrap_resamples,
                                       .seed = static_cast<std::uint64_t>(config.seed),
                                       .confidence = config.confidence};
  eval::ComparisonTable table =
      eval::compare_results(baseline.results_dir, model.results_dir, options);
  ReportComparison out{baseline.name, model.name, {}};
  for (eval::Comparison& row : table.rows) {
    // Tasks as a whole: their parts (phenomena) would drown the page.
    if (row.part.empty() && (language.empty() || row.language == language)) {
      out.rows.push_back(std::move(row));
    }
  }
  return out;
}

std::vector<std::string> read_samples(const fs::path& dir, std::size_t most) {
  std::vector<std::string> out;
  std::ifstream in(dir / "samples.jsonl");
  GM_CHECK(in.good(), kNotFound, "report: no '", (dir / "samples.jsonl").string(),
           "': `samples` names directories that generate wrote");
  for (std::string line; out.size() < most && std::getline(in, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("text")) {
      out.push_back(json["text"].get<std::string>());
    }
  }
  return out;
}

/// Those named; the base for a model of which nothing is said.
std::vector<std::string> baselines_of(const ReportEntry& entry, const ReportData& data) {
  if (data.says_nothing_of(entry.name) && entry.name != data.base) {
    return {data.base};
  }
  return entry.model.baselines;
}

/// A name that was mistyped would otherwise be a table that is silently missing.
void check_names(const ReportConfig& config, const ReportData& data) {
  for (const auto& [name, model] : config.models) {
    (void)data.entry(name);
    for (const std::string& baseline : model.baselines) {
      (void)data.entry(baseline);
    }
    if (!model.base.empty()) {
      (void)data.entry(model.base);
    }
  }
}

}  // namespace

const ReportEntry& ReportData::entry(const std::string& name) const {
  std::vector<std::string> names;
  for (const ReportEntry& entry : entries) {
    if (entry.name == name) {
      return entry;
    }
    names.push_back(entry.name);
  }
  std::string all;
  for (const std::string& known : names) {
    all += (all.empty() ? "" : ", ") + known;
  }
  fail(ErrorCode::kInvalidArgument, "report: model '", name,
       "' was not evaluated (there are: ", all, ")");
}

bool ReportData::says_nothing_of(const std::string& name) const {
  return config.models.count(name) == 0;
}

ReportData collect_report(const ReportConfig& config) {
  GM_CHECK(!config.results.empty(), kInvalidArgument,
           "report: give the directories that eval wrote, as paths or as `results`");
  ReportData out;
  out.config = config;
  for (const std::string& given : config.results) {
    for (const fs::path& dir : result_directories(given)) {
      ReportEntry entry =
          with_context("report: '" + dir.string() + "'", [&] { return read_entry(dir, config); });
      GM_CHECK(std::none_of(out.entries.begin(), out.entries.end(),
                            [&](const ReportEntry& e) { return e.name == entry.name; }),
               kInvalidArgument, "report: two results are of a model called '", entry.name, "' (",
               dir.string(), "): evaluate it under another name");
      out.entries.push_back(std::move(entry));
    }
  }
  out.base = find_base(config, out.entries);
  check_names(config, out);
  // First, so that every table begins with what the others are held against.
  const auto is_base = [&out](const ReportEntry& entry) { return entry.name == out.base; };
  std::stable_partition(out.entries.begin(), out.entries.end(), is_base);
  const double base_flops = out.entry(out.base).flops_total;
  for (ReportEntry& entry : out.entries) {
    // A grown model starts at its growth; the others at the base that all have in common.
    const double start = entry.flops_sunk > 0.0 ? entry.flops_sunk : base_flops;
    entry.flops_since_growth = std::max(0.0, entry.flops_total - start);
  }
  for (const ReportEntry& entry : out.entries) {
    for (const std::string& baseline : baselines_of(entry, out)) {
      out.against_baselines.push_back(compare(out.entry(baseline), entry, config, ""));
    }
    // Forgetting is always against the model before adaptation, whatever the baselines are.
    const std::string base = entry.model.base.empty() ? out.base : entry.model.base;
    if (base != entry.name) {
      ReportComparison comparison = compare(out.entry(base), entry, config, config.source_language);
      if (!comparison.rows.empty()) {
        out.against_base.push_back(std::move(comparison));
      }
    }
  }
  for (const std::string& dir : config.samples) {
    const fs::path path =
        fs::path(dir).has_filename() ? fs::path(dir) : fs::path(dir).parent_path();
    out.samples.emplace_back(path.filename().string(), read_samples(path, 3));
  }
  return out;
}

}  // namespace growmerge::launch
