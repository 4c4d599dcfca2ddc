// Plots as inline SVG: no script, no font, no file beside the page. Colours are CSS classes s0..s9
// of the page, so that they follow light and dark.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace growmerge::launch {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // in order of x
  int color = 0;                                  // 0..9
  bool faint = false;
};

struct LinePlot {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<Series> series;
  bool log_y = false;
};
/// Empty when no series has two points. Points that are not finite are left out.
[[nodiscard]] std::string line_plot_svg(const LinePlot& plot);

/// A value with its interval, on a line of its own.
struct IntervalRow {
  std::string name;
  double value = 0.0;
  double low = 0.0;
  double high = 0.0;
  int color = 0;
};
struct IntervalPlot {
  std::string title;
  std::string x_label;
  std::vector<IntervalRow> rows;
  bool zero_line = false;  // differences: 0 is marked and inside the range
};
[[nodiscard]] std::string interval_plot_svg(const IntervalPlot& plot);

/// Round steps that cover [low, high] with about `count` of them.
[[nodiscard]] std::vector<double> axis_ticks(double low, double high, int count);

}  // namespace growmerge::launch
