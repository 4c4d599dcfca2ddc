#include "core/tokenizer/properties.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/tokenizer/page_table.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

struct ScriptName {
  const char* name;
  const char* code;  // of ISO 15924
};
struct NamedRanges {
  const char* name;
  std::span<const CodePointRange> ranges;
};

#include "core/tokenizer/property_table.inc"

struct LowerRun {
  std::uint32_t first;
  std::uint32_t last;
  std::uint32_t stride;
  std::int32_t difference;
};
constexpr LowerRun kLowerRuns[] = {
#include "core/tokenizer/lowercase_table.inc"
};

/// Long names of categories and of their groups, beside the short ones that category_set() knows.
constexpr std::pair<const char*, const char*> kCategoryNames[] = {
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"punct", "P"},  // [:punct:] holds symbols, too
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"privateuse", "Co"},
    {"unassigned", "Cn"},
};

std::string canonical(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c != ' ' && c != '-' && c != '_') {
      out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  return out;
}

/// Of a category's short name (in lower case) or its group's: "lu", "l".
std::optional<CodePointSet> category_set(const std::string& name) {
  if (name.empty() || name.size() > 2) {
    return std::nullopt;
  }
  CodePointSet set = set_where([&](CharInfo info) {
    const std::string_view category = category_name(info.category());
    return static_cast<char>(category[0] - 'A' + 'a') == name[0] &&
           (name.size() == 1 || category[1] == name[1]);
  });
  return !set.empty() ? std::optional<CodePointSet>(std::move(set)) : std::nullopt;
}

std::optional<CodePointSet> script_set(const std::string& name) {
  for (std::size_t i = 0; i < std::size(kScripts); ++i) {
    if (name != kScripts[i].name && name != kScripts[i].code) {
      continue;
    }
    std::vector<CodePointRange> ranges;
    for (std::size_t row = 0; row < std::size(kScriptRows); ++row) {
      if (kScriptRows[row].value == i) {
        const bool last = row + 1 == std::size(kScriptRows);
        ranges.push_back(
            {kScriptRows[row].first, last ? 0x10FFFF : kScriptRows[row + 1].first - 1});
      }
    }
    return CodePointSet(std::move(ranges));
  }
  return std::nullopt;
}

/// Sets that follow from categories and flags. What "graph" and the like mean is in Oniguruma's
/// doc/RE, Unicode case.
std::optional<CodePointSet> derived_set(const std::string& name) {
  if (name == "any") {
    return CodePointSet::of(0, 0x10FFFF);
  }
  if (name == "ascii") {
    return CodePointSet::of(0, 0x7F);
  }
  if (name == "xdigit" || name == "asciihexdigit") {
    return CodePointSet({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
  }
  if (name == "assigned") {
    return category_set("cn")->complement();
  }
  const auto is = [&name](std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (is({"alpha", "alphabetic"})) {
    return set_where([](CharInfo info) { return info.alphabetic(); });
  }
  if (is({"lower", "lowercase"})) {
    return set_where([](CharInfo info) { return info.lowercase(); });
  }
  if (is({"upper", "uppercase"})) {
    return set_where([](CharInfo info) { return info.uppercase(); });
  }
  if (name == "word") {
    return lone_property_set(name)->intersected(category_set("no")->complement());
  }
  if (is({"space", "whitespace"})) {
    return set_where([](CharInfo info) { return info.pattern_space(); });
  }
  return std::nullopt;
}

}  // namespace

std::optional<CodePointSet> posix_set(std::string_view spelled) {
  const std::string name = canonical(spelled);
  if (name == "alnum") {
    return property_set("alpha")->united(*property_set("Nd"));
  }
  if (name == "digit") {
    return category_set("nd");
  }
  if (name == "cntrl") {
    return category_set("cc");
  }
  if (name == "blank") {
    return category_set("zs")->united(CodePointSet::of('\t', '\t'));
  }
  if (name == "punct") {
    return category_set("p")->united(*category_set("s"));
  }
  if (name == "graph" || name == "print") {
    CodePointSet hidden =
        property_set("space")->united(*category_set("cc")).united(*category_set("cn"));
    return name == "graph" ? hidden.complement() : hidden.complement().united(*category_set("zs"));
  }
  return derived_set(name);
}

std::optional<CodePointSet> property_set(std::string_view spelled) {
  const std::string name = canonical(spelled);
  for (const auto& [long_name, short_name] : kCategoryNames) {
    if (name == long_name) {
      return category_set(canonical(short_name));
    }
  }
  if (name == "lc" || name == "casedletter") {
    return set_where([](CharInfo info) { return info.category() <= 2; });
  }
  if (auto set = category_set(name)) {
    return set;
  }
  if (auto set = script_set(name)) {
    return set;
  }
  for (const NamedRanges& named : kNamedRanges) {
    if (name == named.name) {
      return CodePointSet({named.ranges.begin(), named.ranges.end()});
    }
  }
  return posix_set(name);
}

std::optional<CodePointSet> lone_property_set(std::string_view name) {
  if (canonical(name) != "word") {
    return property_set(name);
  }
  return set_where([](CharInfo info) { return info.pattern_word(); });
}

bool is_combining_mark(std::uint32_t code_point) {
  const auto* range =
      std::lower_bound(std::begin(kCombiningMarks), std::end(kCombiningMarks), code_point,
                       [](const CodePointRange& r, std::uint32_t c) { return r.last < c; });
  return range != std::end(kCombiningMarks) && range->first <= code_point;
}

std::uint32_t lower_case(std::uint32_t code_point) {
  if (code_point == 0x130) {
    return 'i';
  }
  const auto* run = std::lower_bound(std::begin(kLowerRuns), std::end(kLowerRuns), code_point,
                                     [](const LowerRun& r, std::uint32_t c) { return r.last < c; });
  if (run == std::end(kLowerRuns) || run->first > code_point ||
      (code_point - run->first) % run->stride != 0) {
    return code_point;
  }
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(code_point) + run->difference);
}

}  // namespace growmerge::tok
