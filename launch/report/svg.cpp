#include "launch/report/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/base/format.h"
#include "launch/report/table.h"

namespace growmerge::launch {
namespace {

// In SVG units; the page scales them. Left is room for the ticks and the label on its side.
constexpr double kWidth = 640.0;
constexpr double kLeft = 62.0;
constexpr double kRight = 12.0;
constexpr double kTop = 10.0;

std::string number(double value) { return format_number("%.1f", value); }

/// "1.5k", "2.0P": ticks must be short.
std::string tick_text(double value) {
  if (value == 0.0) {
    return "0";
  }
  static constexpr const char* kPrefix[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
  int step = 0;
  double scaled = value;
  while (std::abs(scaled) >= 1000.0 && step < 7) {
    scaled /= 1000.0;
    ++step;
  }
  return format_number("%.3g", scaled) + kPrefix[step];
}

/// From values [low, high] to positions [from, to], which for y run downwards.
struct Scale {
  double low = 0.0;
  double high = 1.0;
  double from = 0.0;
  double to = 1.0;
  bool logarithmic = false;
  [[nodiscard]] double at(double value) const {
    const auto map = [this](double v) { return logarithmic ? std::log(v) : v; };
    return from + (map(value) - map(low)) / (map(high) - map(low)) * (to - from);
  }
};

std::string text_at(double x, double y, const char* anchor, const std::string& text,
                    const char* more = "") {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\"" +
         more + ">" + html_escape(text) + "</text>";
}

std::string line_at(double x1, double y1, double x2, double y2, const char* css) {
  return std::string("<line class=\"") + css + "\" x1=\"" + number(x1) + "\" y1=\"" + number(y1) +
         "\" x2=\"" + number(x2) + "\" y2=\"" + number(y2) + "\"/>";
}

std::string open_svg(double height, const std::string& title) {
  return "<figure><figcaption>" + html_escape(title) + "</figcaption>\n<svg viewBox=\"0 0 " +
         number(kWidth) + " " + number(height) + "\" role=\"img\" aria-label=\"" +
         html_escape(title) + "\">\n";
}

/// Curves must not run along the frame, and one value alone still needs an axis.
void widen(double& low, double& high, bool logarithmic) {
  if (logarithmic) {
    const double margin = std::max(0.02, 0.05 * std::log(high / low));
    low *= std::exp(-margin);
    high *= std::exp(margin);
    return;
  }
  const double margin = std::max(1e-9, 0.05 * (high - low));
  low -= margin;
  high += margin;
}

std::vector<double> ticks_of(const Scale& scale, int count) {
  // Less than a decade and a bit has too few powers of ten to read values from.
  if (!scale.logarithmic || scale.high / scale.low < 20.0) {
    return axis_ticks(scale.low, scale.high, count);
  }
  std::vector<double> out;
  for (double tick = std::pow(10.0, std::ceil(std::log10(scale.low))); tick <= scale.high;
       tick *= 10.0) {
    out.push_back(tick);
  }
  return out;
}

/// A loss that was NaN leaves a gap in its data and not a broken path.
bool is_good(const std::pair<double, double>& point, bool log_y) {
  return std::isfinite(point.first) && std::isfinite(point.second) &&
         (!log_y || point.second > 0.0);
}

}  // namespace

std::vector<double> axis_ticks(double low, double high, int count) {
  // The smallest of 1, 2, 2.5 and 5 times a power of ten that gives no more ticks than asked for.
  const double raw = (high - low) / std::max(1, count);
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = power * 10.0;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (power * factor >= raw) {
      step = power * factor;
      break;
    }
  }
  std::vector<double> out;
  // Multiples of the step, not sums of it: these do not drift, and 0 is exactly 0.
  for (double k = std::ceil(low / step); k * step <= high * (1.0 + 1e-12) + 1e-300; k += 1.0) {
    out.push_back(k * step);
  }
  return out;
}

std::string line_plot_svg(const LinePlot& plot) {
  Scale x;
  Scale y;
  bool any = false;
  bool drawable = false;
  for (const Series& series : plot.series) {
    // A single point is no curve.
    drawable = drawable || series.points.size() >= 2;
    for (const auto& point : series.points) {
      if (!is_good(point, plot.log_y)) {
        continue;
      }
      x.low = any ? std::min(x.low, point.first) : point.first;
      x.high = any ? std::max(x.high, point.first) : point.first;
      y.low = any ? std::min(y.low, point.second) : point.second;
      y.high = any ? std::max(y.high, point.second) : point.second;
      any = true;
    }
  }
  if (!any || !drawable) {
    return "";
  }
  y.logarithmic = plot.log_y;
  widen(x.low, x.high, false);
  widen(y.low, y.high, plot.log_y);
  // Three names of the legend stand in a row.
  const double height = 330.0 + 18.0 * std::ceil(static_cast<double>(plot.series.size()) / 3.0);
  const double bottom = 280.0;
  x.from = kLeft;
  x.to = kWidth - kRight;
  y.from = bottom;
  y.to = kTop;
  std::string out = open_svg(height, plot.title);
  for (const double tick : ticks_of(y, 5)) {
    out += line_at(kLeft, y.at(tick), x.to, y.at(tick), "grid") +
           text_at(kLeft - 6, y.at(tick) + 4, "end", tick_text(tick));
  }
  for (const double tick : ticks_of(x, 6)) {
    out += line_at(x.at(tick), bottom, x.at(tick), bottom + 4, "axis") +
           text_at(x.at(tick), bottom + 17, "middle", tick_text(tick));
  }
  out += line_at(kLeft, bottom, x.to, bottom, "axis") + line_at(kLeft, kTop, kLeft, bottom, "axis");
  out += text_at((kLeft + x.to) / 2, bottom + 36, "middle", plot.x_label);
  out += text_at(14, (kTop + bottom) / 2, "middle", plot.y_label,
                 (" transform=\"rotate(-90 14 " + number((kTop + bottom) / 2) + ")\"").c_str());
  int place = 0;
  for (const Series& series : plot.series) {
    std::string path;
    for (const auto& point : series.points) {
      if (is_good(point, plot.log_y)) {
        path += (path.empty() ? "M" : "L") + number(x.at(point.first)) + " " +
                number(y.at(point.second));
      }
    }
    const std::string css =
        "s" + std::to_string(series.color % 10) + (series.faint ? " faint" : "");
    out += "<path class=\"line " + css + "\" d=\"" + path + "\"/>\n";
    const double legend_x = kLeft + 195.0 * (place % 3);
    const double legend_y = bottom + 56.0 + 18.0 * (place / 3);
    out += "<path class=\"line " + css + "\" d=\"M" + number(legend_x) + " " +
           number(legend_y - 4) + "h18\"/>" +
           text_at(legend_x + 23, legend_y, "start", series.name);
    ++place;
  }
  return out + "</svg></figure>\n";
}

std::string interval_plot_svg(const IntervalPlot& plot) {
  if (plot.rows.empty()) {
    return "";
  }
  Scale x;
  x.low = plot.zero_line ? 0.0 : plot.rows.front().low;
  x.high = plot.zero_line ? 0.0 : plot.rows.front().high;
  std::size_t longest = 4;
  for (const IntervalRow& row : plot.rows) {
    x.low = std::min(x.low, row.low);
    x.high = std::max(x.high, row.high);
    longest = std::max(longest, row.name.size());
  }
  widen(x.low, x.high, false);
  // As wide as the longest name, up to where the bars would have no room.
  const double left = std::min(280.0, 12.0 + 7.2 * static_cast<double>(longest));
  const double bottom = kTop + 22.0 * static_cast<double>(plot.rows.size());
  x.from = left;
  x.to = kWidth - kRight;
  std::string out = open_svg(bottom + 44.0, plot.title);
  for (const double tick : axis_ticks(x.low, x.high, 6)) {
    out += line_at(x.at(tick), kTop, x.at(tick), bottom, "grid") +
           text_at(x.at(tick), bottom + 16, "middle", tick_text(tick));
  }
  if (plot.zero_line) {
    out += line_at(x.at(0.0), kTop, x.at(0.0), bottom, "axis");
  }
  out += text_at((left + x.to) / 2, bottom + 36, "middle", plot.x_label);
  double y = kTop + 11.0;
  for (const IntervalRow& row : plot.rows) {
    const std::string css = "s" + std::to_string(row.color % 10);
    out += text_at(left - 8, y + 4, "end", row.name);
    out += line_at(x.at(row.low), y, x.at(row.high), y, ("bar " + css).c_str());
    out +=
        "<circle class=\"dot " + css + "\" cx=\"" + number(x.at(row.value)) + "\" cy=\"" +
        number(y) + "\" r=\"4\"><title>" +
        html_escape(row.name + ": " + format_number("%.4f", row.value) + " [" +
                    format_number("%.4f", row.low) + ", " + format_number("%.4f", row.high) + "]") +
        "</title></circle>\n";
    y += 22.0;
  }
  return out + "</svg></figure>\n";
}

}  // namespace growmerge::launch
