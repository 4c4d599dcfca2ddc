#include "core/tokenizer/json_text.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace growmerge::tok {
namespace {

using DomParser = nlohmann::detail::json_sax_dom_parser<Json>;

/// Builds the document as the library does, but for the value of numbers with a point or exponent.
class NumberReader : public DomParser {
 public:
  using DomParser::DomParser;
  bool number_float(double /*value*/, const std::string& digits) {
    return DomParser::number_float(double_of_digits(digits), digits);
  }
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The nearest double to 10^exponent, for 0 to 308.
double power_of_ten(int exponent) {
  const std::string text = "1e" + std::to_string(exponent);
  return std::strtod(text.c_str(), nullptr);
}

}  // namespace

double double_of_digits(std::string_view text) {
  const bool negative = text.starts_with('-');
  text.remove_prefix(negative ? 1 : 0);
  std::uint64_t significand = 0;
  std::int64_t exponent = 0;
  bool full = false;
  bool behind_point = false;
  std::size_t i = 0;
  for (; i < text.size() && (is_digit(text[i]) || text[i] == '.'); ++i) {
    if (text[i] == '.') {
      behind_point = true;
      full = false;  // as there, where each part is counted by itself
      continue;
    }
    const auto digit = static_cast<std::uint64_t>(text[i] - '0');
    full = full || significand > (UINT64_MAX - digit) / 10;
    if (!full) {
      significand = significand * 10 + digit;
    }
    // What no longer fits is left out; before the point it still counts as a place.
    exponent += behind_point ? (full ? 0 : -1) : (full ? 1 : 0);
  }
  if (i < text.size()) {
    exponent += std::strtoll(std::string(text.substr(i + 1)).c_str(), nullptr, 10);
  }
  auto value = static_cast<double>(significand);
  for (; exponent < -308 && value != 0.0; exponent += 308) {
    value /= 1e308;
  }
  if (value != 0.0) {
    const double power =
        power_of_ten(static_cast<int>(std::min<std::int64_t>(std::abs(exponent), 308)));
    value = exponent < 0 ? value / power : value * power;
  }
  return negative ? -value : value;
}

Json parse_json_text(const std::string& text) {
  Json root;
  try {
    NumberReader reader(root);
    Json::sax_parse(text, &reader);
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorrupt, "not valid JSON: ", e.what());
  }
  return root;
}

}  // namespace growmerge::tok
