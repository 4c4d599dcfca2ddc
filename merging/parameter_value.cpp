#include "merging/parameter_value.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "core/base/error.h"
#include "core/model/tensor_table.h"

namespace growmerge::merging {
namespace {

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// PyYAML's words for true and false, in any case, and mergekit's numbers and letters for them.
std::optional<bool> find_flag(const YamlNode& node) {
  const std::string word = lower_case(node.scalar);
  for (const char* name : {"true", "yes", "on", "t", "y", "1", "1.0"}) {
    if (word == name) {
      return true;
    }
  }
  for (const char* name : {"false", "no", "off", "f", "n", "0", "0.0"}) {
    if (word == name) {
      return false;
    }
  }
  return std::nullopt;
}

/// A number. PyYAML reads 1e-5 as text (it wants a point), and so it is often put in quotes;
/// mergekit takes both, and flags as 0 and 1.
double number_of(YamlNode node) {
  node.quoted = false;
  const std::string word = lower_case(node.scalar);
  if (word == "true" || word == "false") {
    return word == "true" ? 1.0 : 0.0;
  }
  return node.as_double();
}

/// One number; flags as 0 or 1.
double scalar_of(const YamlNode& node, ParameterValue::Type type, const std::string& key) {
  GM_CHECK(node.is_scalar(), kInvalidArgument, node.where(), ": '", key,
           "' must be a value, a list of values, or a list of {filter, value}");
  return with_context("'" + key + "'", [&] {
    if (type == ParameterValue::Type::kFlag) {
      const std::optional<bool> flag = find_flag(node);
      return (flag ? *flag : node.as_bool()) ? 1.0 : 0.0;
    }
    const double value = number_of(node);
    GM_CHECK(std::isfinite(value), kInvalidArgument, node.where(), ": must be finite");
    return value;
  });
}

/// A scalar is a gradient of one entry, so that at() knows one case alone.
std::vector<double> gradient_of(const YamlNode& node, ParameterValue::Type type,
                                const std::string& key) {
  if (!node.is_sequence()) {
    return {scalar_of(node, type, key)};
  }
  GM_CHECK(!node.items.empty(), kInvalidArgument, node.where(), ": '", key, "' is an empty list");
  std::vector<double> out;
  for (const YamlNode& item : node.items) {
    out.push_back(scalar_of(item, type, key));
  }
  return out;
}

}  // namespace

ParameterValue ParameterValue::parse(const YamlNode& node, Type type, const std::string& key) {
  ParameterValue out;
  out.type_ = type;
  out.where_ = node.where();
  // mergekit takes a single {filter, value} without its list too.
  const bool conditional =
      node.is_map() || (node.is_sequence() && !node.items.empty() && node.items.front().is_map());
  if (!conditional) {
    out.branches_.push_back({"", gradient_of(node, type, key)});
  } else {
    const std::vector<YamlNode> single = {node};
    for (const YamlNode& item : node.is_map() ? single : node.items) {
      GM_CHECK(item.is_map(), kInvalidArgument, item.where(), ": '", key,
               "': expected {filter: ..., value: ...}, as the first entry of this list is one");
      Branch branch;
      for (const auto& [name, value] : item.entries) {
        GM_CHECK(name == "filter" || name == "value", kInvalidArgument, value.where(),
                 ": unknown key '", name, "' in '", key, "', expected filter and value");
      }
      const YamlNode* value = item.find("value");
      GM_CHECK(value != nullptr, kInvalidArgument, item.where(), ": '", key,
               "': key 'value' is missing");
      if (const YamlNode* filter = item.find("filter"); filter != nullptr && !filter->is_null()) {
        branch.filter = filter->as_string() == "*" ? "" : filter->as_string();
      }
      branch.gradient = gradient_of(*value, type, key);
      out.branches_.push_back(std::move(branch));
    }
  }
  for (const Branch& branch : out.branches_) {
    out.values_.insert(out.values_.end(), branch.gradient.begin(), branch.gradient.end());
  }
  return out;
}

std::optional<double> ParameterValue::at(const std::string& tensor, double depth) const {
  for (const Branch& branch : branches_) {
    if (!branch.filter.empty() && tensor.find(branch.filter) == std::string::npos) {
      continue;
    }
    // Entries stand at equal distances over the depth; `depth` lies between two of them.
    const double place = depth * static_cast<double>(branch.gradient.size() - 1);
    const auto low = static_cast<std::size_t>(place);
    if (type_ == Type::kFlag) {  // half true is nothing
      return branch.gradient[low];
    }
    const std::size_t high = std::min(low + 1, branch.gradient.size() - 1);
    const double share = place - static_cast<double>(low);
    return (1.0 - share) * branch.gradient[low] + share * branch.gradient[high];
  }
  return std::nullopt;
}

double layer_depth(std::int64_t layer, std::int64_t num_layers) {
  return num_layers == 1 ? 1.0 : static_cast<double>(layer) / static_cast<double>(num_layers - 1);
}

double tensor_depth(const std::string& tensor, std::int64_t num_layers) {
  const std::optional<std::int64_t> layer = tensor_place(tensor).layer;
  if (!layer) {
    return 0.0;
  }
  return layer_depth(*layer, num_layers);
}

}  // namespace growmerge::merging
