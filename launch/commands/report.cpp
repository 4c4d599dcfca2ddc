// growmerge report: results -> tables and one self-contained HTML page.
#include "launch/report/report.h"
#include "core/base/files.h"

#include <cstdio>

#include "core/base/error.h"
#include "launch/commands/commands.h"

namespace growmerge::launch {
namespace {

/// What a person gives has to be checked; the report itself takes what it gets.
struct ReportCommandConfig : ReportConfig {
  void validate() const {
    GM_CHECK(!results.empty(), kInvalidArgument,
             "report: give the directories that eval wrote, as paths or as `results`");
    GM_CHECK(confidence > 0.0 && confidence < 1.0, kInvalidArgument,
             "report: confidence must lie between 0 and 1, got ", confidence);
  }
};

StagePlan plan(const ReportCommandConfig& config) {
  StagePlan out;
  out.stage = "report";
  out.seed = static_cast<std::uint64_t>(config.seed);
  out.max_ranks = 1;
  for (std::size_t i = 0; i < config.results.size(); ++i) {
    out.inputs.push_back({concat("results ", i), config.results[i]});
  }
  for (std::size_t i = 0; i < config.samples.size(); ++i) {
    out.inputs.push_back({concat("samples ", i), config.samples[i]});
  }
  return out;
}

std::string estimate(const ReportCommandConfig& config, int ranks) {
  return "writes    report.html, report.md, report.txt\n";
}

void work(const ReportCommandConfig& config, StageRun& run) {
  const ReportData data = collect_report(config);
  write_file_atomically(run.dir / "report.html", report_html(data));
  write_file_atomically(run.dir / "report.md", report_markdown(data));
  const std::string text = report_text(data);
  write_file_atomically(run.dir / "report.txt", text);
  std::fputs(text.c_str(), stdout);
}

}  // namespace

Command report_command() {
  Command out;
  out.name = "report";
  out.doc = "results -> one self-contained HTML page with plots, and Markdown tables";
  out.usage = "[RESULTS...] [--config FILE] [--out DIR]";
  out.details =
      "RESULTS are directories that eval wrote, or a whole experiment's directory. Prints the\n"
      "tables; with --out also writes report.html, report.md and report.txt.\n";
  set_stage<ReportCommandConfig>(out, plan, estimate, work);
  out.prints_without_out = [](const YamlNode& node, Communicator&) {
    const ReportData data = collect_report(config_from_yaml<ReportCommandConfig>(node));
    std::fputs(report_text(data).c_str(), stdout);
  };
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    if (paths.empty()) {
      return;
    }
    YamlNode list;
    list.kind = YamlNode::Kind::kSequence;
    for (const std::string& path : paths) {
      YamlNode item;
      item.kind = YamlNode::Kind::kScalar;
      item.scalar = path;
      item.quoted = true;
      list.items.push_back(std::move(item));
    }
    // Paths on the command line replace those of the file: the other way round none would count.
    std::erase_if(config.entries, [](const auto& entry) { return entry.first == "results"; });
    config.entries.emplace_back("results", std::move(list));
  };
  return out;
}

}  // namespace growmerge::launch
