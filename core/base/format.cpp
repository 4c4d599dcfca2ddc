#include "core/base/format.h"

#include <cstdio>
#include <span>

namespace growmerge {

namespace {

/// `value` in the largest unit, each a thousand of the one before, that leaves 1 or more; whole
/// numbers of the first.
std::string in_units(double value, std::span<const char* const> units, int decimals) {
  std::size_t unit = 0;
  while (value >= 1000.0 && unit + 1 < units.size()) {
    value /= 1000.0;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", unit == 0 ? 0 : decimals, value, units[unit]);
  return text;
}

}  // namespace

std::string format_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  return in_units(bytes, kUnits, 1);
}

std::string format_flops(double flops) {
  static constexpr const char* kUnits[] = {"FLOP",  "kFLOP", "MFLOP", "GFLOP",
                                           "TFLOP", "PFLOP", "EFLOP", "ZFLOP"};
  return in_units(flops, kUnits, 2);
}

std::string format_count(std::int64_t count) {
  std::string digits = std::to_string(count);
  // From the right; a minus sign is no digit to put a comma behind.
  for (int at = static_cast<int>(digits.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string format_number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return out + "]";
}

std::string duration_text(double seconds) {
  char buffer[32];
  const auto whole = static_cast<long>(seconds);
  if (whole >= 3600) {
    std::snprintf(buffer, sizeof(buffer), "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60,
                  whole % 60);
  } else {
    std::snprintf(buffer, sizeof(buffer), "%ld:%02ld", whole / 60, whole % 60);
  }
  return buffer;
}

}  // namespace growmerge
