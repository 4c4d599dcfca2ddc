#include "launch/experiment/templates.h"

#include <algorithm>
#include <cctype>

#include "core/base/config.h"
#include "core/base/error.h"

namespace growmerge::launch {
namespace {

// Variables may name variables; more than this only happens in a circle.
constexpr int kDeepest = 32;

/// It keeps the place in the file, for the messages of whoever reads the value.
YamlNode scalar_node(const std::string& text, const YamlNode& where) {
  YamlNode out;
  out.kind = YamlNode::Kind::kScalar;
  out.scalar = text;
  out.file = where.file;
  out.line = where.line;
  out.column = where.column;
  return out;
}

class Expander {
 public:
  explicit Expander(const Scope& scope, int depth = 0) : scope_(scope), depth_(depth) {}

  YamlNode expand(const YamlNode& node) const {
    switch (node.kind) {
      case YamlNode::Kind::kScalar:
        return expand_scalar(node);
      case YamlNode::Kind::kSequence:
        return expand_sequence(node);
      case YamlNode::Kind::kMap:
        return expand_map(node);
      case YamlNode::Kind::kNull:
        break;
    }
    return node;
  }

  std::string substitute(const std::string& text, const YamlNode& where) const {
    std::string out;
    std::size_t at = 0;
    while (at < text.size()) {
      // "$${" is how a shell's own "${" is written.
      if (text.compare(at, 3, "$${") == 0) {
        out += "${";
        at += 3;
      } else if (text.compare(at, 2, "${") == 0) {
        const std::size_t end = closing(text, at, where);
        const YamlNode value = look_up(text.substr(at + 2, end - at - 2), where);
        GM_CHECK(value.is_scalar(), kInvalidArgument, where.where(), ": '",
                 text.substr(at, end + 1 - at), "' is ",
                 value.is_null() ? "empty" : "a list or table",
                 ", a single value is needed inside a text");
        out += value.scalar;
        at = end + 1;
      } else {
        out += text[at++];
      }
    }
    return out;
  }

 private:
  /// Braces nest: "${start.${setup}}".
  static std::size_t closing(const std::string& text, std::size_t at, const YamlNode& where) {
    int open = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      if (text.compare(i, 2, "${") == 0) {
        ++open;
      } else if (text[i] == '}' && --open == 0) {
        return i;
      }
    }
    fail(ErrorCode::kInvalidArgument, where.where(), ": '", text, "': '${' has no closing '}'");
  }

  static bool is_one_variable(const std::string& text, const YamlNode& where) {
    return text.compare(0, 2, "${") == 0 && closing(text, 0, where) + 1 == text.size();
  }

  YamlNode expand_scalar(const YamlNode& node) const {
    if (node.scalar.find("${") == std::string::npos) {
      return node;
    }
    // Alone, a variable keeps its kind: it may be a list, a table or a number.
    if (is_one_variable(node.scalar, node)) {
      YamlNode value = look_up(node.scalar.substr(2, node.scalar.size() - 3), node);
      value.file = node.file;
      value.line = node.line;
      value.column = node.column;
      return value;
    }
    YamlNode out = node;
    out.scalar = substitute(node.scalar, node);
    out.quoted = false;  // "${n}k" is quoted for YAML's sake, and may well be a number
    return out;
  }

  YamlNode expand_sequence(const YamlNode& node) const {
    YamlNode out = node;
    out.items.clear();
    for (const YamlNode& item : node.items) {
      if (const YamlNode* each = item.find("for_each"); item.is_map() && each != nullptr) {
        YamlNode body = item;
        std::erase_if(body.entries, [](const auto& entry) { return entry.first == "for_each"; });
        // Items that are no tables are written {for_each: ..., item: "${x}.txt"}.
        const YamlNode* only = body.entries.size() == 1 ? body.find("item") : nullptr;
        for (const Scope& scope : for_each_scopes(*each, scope_)) {
          append(out, only != nullptr ? *only : body, scope);
        }
      } else {
        append(out, item, scope_);
      }
    }
    return out;
  }

  void append(YamlNode& out, const YamlNode& item, const Scope& scope) const {
    YamlNode value = Expander(scope, depth_).expand(item);
    // A variable that is a list gives its items, not a list within the list.
    const bool splice = item.is_scalar() && value.is_sequence();
    if (splice) {
      out.items.insert(out.items.end(), value.items.begin(), value.items.end());
    } else {
      out.items.push_back(std::move(value));
    }
  }

  YamlNode expand_map(const YamlNode& node) const {
    YamlNode out = node;
    out.entries.clear();
    for (const auto& [key, value] : node.entries) {
      if (const YamlNode* each = value.find("for_each"); value.is_map() && each != nullptr) {
        YamlNode body = value;
        std::erase_if(body.entries, [](const auto& entry) { return entry.first == "for_each"; });
        for (const Scope& scope : for_each_scopes(*each, scope_)) {
          add(out, Expander(scope, depth_), key, body);
        }
      } else {
        add(out, *this, key, value);
      }
    }
    return out;
  }

  static void add(YamlNode& out, const Expander& expander, const std::string& key,
                  const YamlNode& value) {
    std::string name = expander.substitute(key, value);
    GM_CHECK(out.find(name) == nullptr, kInvalidArgument, value.where(), ": '", name,
             "' is made twice: use every for_each variable in the name '", key, "'");
    out.entries.emplace_back(std::move(name), expander.expand(value));
  }

  YamlNode look_up(const std::string& raw, const YamlNode& where) const {
    GM_CHECK(depth_ < kDeepest, kInvalidArgument, where.where(),
             ": variables refer to each other "
             "in a circle at '${",
             raw, "}'");
    const std::string path = Expander(scope_, depth_ + 1).substitute(raw, where);
    // Naming a stage's directory is what makes it needed.
    if (path.starts_with("stages.")) {
      GM_CHECK(scope_.stage_dir != nullptr, kInvalidArgument, where.where(), ": '${", path,
               "}': stages cannot be referred to here");
      return scalar_node(scope_.stage_dir(path.substr(7), where), where);
    }
    std::size_t at = path.starts_with("vars.") ? 5 : 0;
    const std::size_t first_dot = std::min(path.find('.', at), path.size());
    YamlNode node = first_part(path.substr(at, first_dot - at), path, where);
    at = first_dot + 1;
    while (at <= path.size()) {
      const std::size_t dot = std::min(path.find('.', at), path.size());
      node = member(std::move(node), path.substr(at, dot - at), path, where);
      at = dot + 1;
    }
    // Only what was asked for is expanded: a table of stages must not make all of them needed.
    return Expander(scope_, depth_ + 1).expand(node);
  }

  YamlNode member(YamlNode node, const std::string& part, const std::string& path,
                  const YamlNode& where) const {
    // First as it stands: expanding a whole table would need all that it names.
    const YamlNode* found = child(node, part);
    if (found == nullptr) {
      node = Expander(scope_, depth_ + 1).expand(node);
      found = child(node, part);
    }
    GM_CHECK(found != nullptr, kInvalidArgument, where.where(), ": '${", path, "}': no '", part,
             "' there", near(node, part));
    return YamlNode(*found);
  }

  static const YamlNode* child(const YamlNode& node, const std::string& part) {
    if (node.is_map()) {
      return node.find(part);
    }
    // More digits than that are no index of a list.
    const bool is_index = node.is_sequence() && !part.empty() && part.size() < 9 &&
                          part.find_first_not_of("0123456789") == std::string::npos;
    return is_index && std::stoul(part) < node.items.size() ? &node.items[std::stoul(part)]
                                                            : nullptr;
  }

  static std::string near(const YamlNode& node, const std::string& word) {
    std::vector<std::string> names;
    std::string all;
    for (const auto& [key, value] : node.entries) {
      names.push_back(key);
      all += (all.empty() ? "" : ", ") + key;
    }
    const std::string nearest = nearest_name(word, names);
    return nearest.empty() ? " (there are: " + all + ")" : "; did you mean '" + nearest + "'?";
  }

  const YamlNode& first_part(const std::string& part, const std::string& path,
                             const YamlNode& where) const {
    // A for_each variable hides a variable of the experiment.
    if (const auto it = scope_.bindings.find(part); it != scope_.bindings.end()) {
      return it->second;
    }
    const YamlNode* found = scope_.vars != nullptr ? scope_.vars->find(part) : nullptr;
    if (found == nullptr) {
      YamlNode known = scope_.vars != nullptr ? *scope_.vars : YamlNode();
      for (const auto& [name, value] : scope_.bindings) {
        known.entries.emplace_back(name, value);
      }
      fail(ErrorCode::kInvalidArgument, where.where(), ": unknown variable '", part, "' in '${",
           path, "}'", near(known, part));
    }
    return *found;
  }

  const Scope& scope_;
  int depth_;
};

/// As it stood in the file: 12 stays a number, "12" a string.
std::string scalar_text(const YamlNode& node) {
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '+' ||
           c == '-' || c == '/';
  };
  if (!node.quoted && !node.scalar.empty() &&
      std::all_of(node.scalar.begin(), node.scalar.end(), is_word)) {
    return node.scalar;
  }
  const std::string text = yaml_quote(node.scalar);
  return text.front() == '"' ? text : '"' + text + '"';
}

void append_yaml(const YamlNode& node, int indent, std::string& out) {
  const std::string pad(static_cast<std::size_t>(indent), ' ');
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      out += " null\n";
      break;
    case YamlNode::Kind::kScalar:
      out += " " + scalar_text(node) + "\n";
      break;
    case YamlNode::Kind::kSequence:
      out += node.items.empty() ? " []\n" : "\n";
      for (const YamlNode& item : node.items) {
        out += pad + "-";
        append_yaml(item, indent + 2, out);
      }
      break;
    case YamlNode::Kind::kMap:
      out += node.entries.empty() ? " {}\n" : "\n";
      for (const auto& [key, value] : node.entries) {
        out += pad + yaml_quote(key) + ":";
        append_yaml(value, indent + 2, out);
      }
      break;
  }
}

}  // namespace

YamlNode expand(const YamlNode& node, const Scope& scope) { return Expander(scope).expand(node); }

std::string substitute(const std::string& text, const YamlNode& where, const Scope& scope) {
  return Expander(scope).substitute(text, where);
}

std::vector<Scope> for_each_scopes(const YamlNode& for_each, const Scope& scope) {
  std::vector<Scope> out;
  if (for_each.is_sequence()) {
    for (const YamlNode& part : for_each.items) {
      for (Scope& one : for_each_scopes(part, scope)) {
        out.push_back(std::move(one));
      }
    }
    return out;
  }
  GM_CHECK(for_each.is_map(), kInvalidArgument, for_each.where(),
           ": for_each: expected {variable: [values]}, or a list of such maps");
  // All combinations, the last variable running fastest.
  out.push_back(scope);
  for (const auto& [name, values] : for_each.entries) {
    std::vector<Scope> next;
    for (const Scope& one : out) {
      // In the scope so far: a later variable's values may depend on an earlier one.
      const YamlNode list = expand(values, one);
      GM_CHECK(list.is_sequence() || list.is_scalar(), kInvalidArgument, values.where(),
               ": for_each: '", name, "' needs a list of values");
      const std::vector<YamlNode> items =
          list.is_sequence() ? list.items : std::vector<YamlNode>{list};
      for (const YamlNode& item : items) {
        Scope bound = one;
        bound.bindings[name] = item;
        next.push_back(std::move(bound));
      }
    }
    out = std::move(next);
  }
  return out;
}

YamlNode merge_nodes(const YamlNode& under, const YamlNode& over) {
  // Lists are replaced as a whole: which items would belong together cannot be known.
  if (!under.is_map() || !over.is_map()) {
    return over;
  }
  YamlNode out = under;
  out.file = over.file;
  out.line = over.line;
  out.column = over.column;
  for (const auto& [key, value] : over.entries) {
    if (YamlNode* there = out.find(key)) {
      *there = merge_nodes(YamlNode(*there), value);
    } else {
      out.entries.emplace_back(key, value);
    }
  }
  return out;
}

std::string node_to_yaml(const YamlNode& node) {
  std::string out;
  append_yaml(node, 0, out);
  // A value follows its key, or stands alone here.
  return out.starts_with('\n') ? out.substr(1) : out.substr(out.empty() ? 0 : 1);
}

}  // namespace growmerge::launch
