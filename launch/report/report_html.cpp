// The HTML page of a report: tables and plots in one file without references to any other.
#include <algorithm>
#include <map>
#include <set>

#include "core/base/error.h"
#include "launch/report/report.h"
#include "launch/report/svg.h"

namespace growmerge::launch {
namespace {

// Colours are the ten of Okabe & Ito and friends that stay apart for colour-blind readers.
constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--text:#1b1f24;--page:#fff;--soft:#eef0f3;--rule:#c9ced6;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#a6761d;--c5:#56b4e9;--c6:#7a5195;--c7:#666;--c8:#e69f00;--c9:#1b7837}
@media(prefers-color-scheme:dark){:root{--text:#e6e8eb;--page:#14171b;--soft:#22272e;--rule:#424a55;
--c0:#4ba3e3;--c1:#f08a4b;--c2:#3ccfa0;--c3:#e59ac3;--c4:#d3a24b;--c5:#8fd0f5;--c6:#b794d6;--c7:#aaa;--c8:#f2bd4a;--c9:#6cc283}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);max-width:1080px;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.3rem 0}h2{font-size:1.15rem;margin:1.8rem 0 .4rem}p{margin:.3rem 0 .6rem;max-width:75ch}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;white-space:nowrap}
th,td{text-align:left;padding:.22rem .6rem;border-bottom:1px solid var(--rule)}
th{background:var(--soft);position:sticky;top:0}.n{text-align:right;font-variant-numeric:tabular-nums}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:1rem}
figure{margin:0;max-width:640px}figcaption{font-weight:600;font-size:.92rem}svg{width:100%;height:auto}
svg text{font-size:12px;fill:var(--text)}.grid{stroke:var(--rule);stroke-width:.6}.axis{stroke:var(--text);stroke-width:1}
.line{fill:none;stroke-width:2}.faint{stroke-opacity:.3;stroke-width:1.2}.bar{stroke-width:3}.dot{stroke:none}
blockquote{margin:.3rem 0;padding:.3rem .8rem;border-left:3px solid var(--rule);white-space:pre-wrap;overflow-wrap:anywhere}
)";

std::string color_rules() {
  std::string out;
  for (int i = 0; i < 10; ++i) {
    const std::string n = std::to_string(i);
    out += concat(".s", n, "{stroke:var(--c", n, ")}.dot.s", n, "{fill:var(--c", n, ")}");
  }
  return out;
}

/// One colour per setup (or role), so that plots can be read side by side.
class Colors {
 public:
  explicit Colors(const ReportData& data) {
    for (const ReportEntry& entry : data.entries) {
      colors_.try_emplace(key(entry), static_cast<int>(colors_.size()));
    }
  }
  [[nodiscard]] int of(const ReportEntry& entry) const { return colors_.at(key(entry)); }

 private:
  static std::string key(const ReportEntry& entry) {
    const std::string key = entry.model.role + "/" + entry.model.setup;
    return key == "/" ? entry.name : key;
  }
  std::map<std::string, int> colors_;
};

Series metric_series(const ReportEntry& entry, const std::string& x, const std::string& y,
                     int color) {
  // Not every line of metrics has both: held-out loss comes every so many steps.
  Series out{.name = entry.name, .points = {}, .color = color};
  for (const auto& row : entry.metrics) {
    const auto at_x = row.find(x);
    const auto at_y = row.find(y);
    if (at_x != row.end() && at_y != row.end()) {
      out.points.emplace_back(at_x->second, at_y->second);
    }
  }
  return out;
}

/// Loss against FLOPs of each run, one plot per language (and one of those without).
std::string loss_plots(const ReportData& data, const Colors& colors) {
  std::map<std::string, LinePlot> plots;
  for (const ReportEntry& entry : data.entries) {
    Series held_out = metric_series(entry, "flops", "held_out_loss", colors.of(entry));
    Series training = metric_series(entry, "flops", "loss", colors.of(entry));
    // Held-out loss where there is a curve of it; training loss is smoother but of seen text.
    Series& shown = held_out.points.size() >= 2 ? held_out : training;
    if (shown.points.size() < 2) {
      continue;
    }
    const std::string group = !entry.model.language.empty() ? entry.model.language
                              : entry.model.role.empty()    ? "all runs"
                                                            : entry.model.role;
    const char* metric = &shown == &held_out ? "held-out loss" : "training loss";
    LinePlot& plot = plots[group + ", " + metric];
    plot.title = "Loss against FLOPs: " + group;
    plot.x_label = "FLOPs of this run (3 x forward, causal)";
    plot.y_label = std::string(metric) + ", nats/token";
    plot.series.push_back(std::move(shown));
  }
  std::string out;
  for (const auto& [group, plot] : plots) {
    out += line_plot_svg(plot);
  }
  return out;
}

/// Bits per byte of every model, one plot per task.
std::string score_plots(const ReportData& data, const Colors& colors, bool texts) {
  std::vector<std::string> tasks;
  std::map<std::string, IntervalPlot> plots;
  for (const ReportEntry& entry : data.entries) {
    for (std::size_t i = 0; i < entry.results.tasks.size(); ++i) {
      const eval::TaskSummary& task = entry.results.tasks[i];
      const char* metric = texts ? "bits_per_byte" : "acc";
      if (!task.has(metric)) {
        continue;
      }
      const double scale = texts ? 1.0 : 100.0;
      IntervalPlot& plot = plots[task.name];
      // A map would sort the tasks; they stand as eval was given them.
      if (plot.rows.empty()) {
        tasks.push_back(task.name);
        plot.title = (texts ? "Bits per byte: " : "Accuracy: ") + task.name;
        plot.x_label = texts ? "bits per byte (lower is better)" : "accuracy, %";
      }
      plot.rows.push_back({.name = entry.name,
                           .value = scale * task.metric(metric),
                           .low = scale * task.metric(std::string(metric) + "_ci_low"),
                           .high = scale * task.metric(std::string(metric) + "_ci_high"),
                           .color = colors.of(entry)});
    }
  }
  std::string out;
  for (const std::string& task : tasks) {
    out += interval_plot_svg(plots[task]);
  }
  return out;
}

std::string forgetting_plots(const ReportData& data, const Colors& colors) {
  std::map<std::string, IntervalPlot> plots;
  for (const ReportComparison& comparison : data.against_base) {
    for (const eval::Comparison& row : comparison.rows) {
      const bool accuracy = row.metric == "acc";
      const double scale = accuracy ? 100.0 : 1.0;
      IntervalPlot& plot = plots[row.task];
      plot.title = "Change of " + row.task + " against the base";
      plot.x_label = accuracy ? "accuracy, points (left: lost)" : "bits per byte (right: lost)";
      // Left or right of no change is what the eye looks for.
      plot.zero_line = true;
      plot.rows.push_back({.name = comparison.model,
                           .value = scale * row.difference,
                           .low = scale * row.interval.low,
                           .high = scale * row.interval.high,
                           .color = colors.of(data.entry(comparison.model))});
    }
  }
  std::string out;
  for (const auto& [task, plot] : plots) {
    out += interval_plot_svg(plot);
  }
  return out;
}

/// Clones that stay at 0 have learned nothing that the small model could not.
std::string asymmetry_plot(const ReportData& data) {
  LinePlot plot;
  plot.title = "Asymmetry of cloned blocks";
  plot.x_label = "steps";
  plot.y_label = "asymmetry (0: clones, 1: unrelated)";
  for (const ReportEntry& entry : data.entries) {
    Series series =
        metric_series(entry, "step", "asymmetry/all", static_cast<int>(plot.series.size()));
    if (series.points.size() >= 2) {
      plot.series.push_back(std::move(series));
    }
  }
  return line_plot_svg(plot);
}

std::string section(const std::string& title, const std::string& plots) {
  return plots.empty()
             ? ""
             : "<h2>" + html_escape(title) + "</h2>\n<div class=\"plots\">\n" + plots + "</div>\n";
}

}  // namespace

std::string report_html(const ReportData& data) {
  // Style and plots stand in the page itself: it is sent around as one file.
  const Colors colors(data);
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>" +
      html_escape(data.config.title) + "</title><style>" + kStyle + color_rules() +
      "</style></head><body>\n<h1>" + html_escape(data.config.title) + "</h1>\n";
  for (const Table& table : score_tables(data)) {
    out += table_html(table);
  }
  out += section("Bits per byte", score_plots(data, colors, true));
  out += section("Minimal pairs", score_plots(data, colors, false));
  out += section("Source language kept or lost", forgetting_plots(data, colors));
  out += section("Training", loss_plots(data, colors) + asymmetry_plot(data));
  for (const Table& table : difference_tables(data)) {
    out += table_html(table);
  }
  if (!data.samples.empty()) {
    out += "<h2>Sampled text</h2>\n";
    for (const auto& [name, texts] : data.samples) {
      out += "<p><b>" + html_escape(name) + "</b></p>\n";
      for (const std::string& text : texts) {
        out += "<blockquote>" + html_escape(first_bytes(text, 1200)) + "</blockquote>\n";
      }
    }
  }
  return out + "</body></html>\n";
}

}  // namespace growmerge::launch
