#include "core/base/config.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/base/error.h"

namespace growmerge {
namespace {

// A visitor made of lambdas, one for each kind of member.
template <class... Fns>
struct Overloaded : Fns... {
  using Fns::operator()...;
};

std::string number_text(double value) {
  // The shortest text that reads back as the same number, in every locale: a dumped config loads as
  // the config that it was made from.
  char buffer[64];
  const auto [end, status] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  GM_ASSERT(status == std::errc());
  return std::string(buffer, end);
}

template <class T>
T scalar_from(const YamlNode& node) {
  if constexpr (std::is_same_v<T, bool>) {
    return node.as_bool();
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return node.as_int();
  } else if constexpr (std::is_same_v<T, double>) {
    return node.as_double();
  } else {
    return node.as_string();
  }
}

template <class T>
std::string scalar_text(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return std::to_string(value);
  } else if constexpr (std::is_same_v<T, double>) {
    return number_text(value);
  } else {
    return yaml_quote(value);
  }
}

std::string member_text(const ScalarRef& member) {
  return std::visit(Overloaded{[]<class T>(T* v) { return scalar_text(*v); },
                               []<class T>(std::optional<T>* v) {
                                 return *v ? scalar_text(**v) : std::string("null");
                               },
                               []<class T>(std::vector<T>* v) {
                                 std::string out = "[";
                                 for (std::size_t i = 0; i < v->size(); ++i) {
                                   out += (i == 0 ? "" : ", ") + scalar_text((*v)[i]);
                                 }
                                 return out + "]";
                               }},
                    member);
}

std::string list_text(std::size_t size) { return concat("list of ", size); }

class Loader final : public FieldVisitor {
 public:
  explicit Loader(const YamlNode& node) : node_(node) {}

  /// What keys there are shows only when describe() has asked for all of them, so a key that nobody
  /// asked for is found at the end.
  void finish() const {
    for (const auto& [key, value] : node_.entries) {
      if (known_.count(key) == 0) {
        const std::vector<std::string> names(known_.begin(), known_.end());
        const std::string nearest = nearest_name(key, names);
        std::string all;
        for (const std::string& name : names) {
          all += (all.empty() ? "" : ", ") + name;
        }
        fail(ErrorCode::kInvalidArgument, value.where(), ": unknown key '", key, "'",
             nearest.empty() ? "" : "; did you mean '" + nearest + "'?", " (known here: ", all,
             ")");
      }
    }
  }

 protected:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    const YamlNode* node = lookup(info);
    if (node == nullptr) {
      return;
    }
    std::visit(Overloaded{[&]<class T>(T* v) { *v = scalar_from<T>(*node); },
                          [&]<class T>(std::optional<T>* v) {
                            *v = node->is_null() ? std::nullopt
                                                 : std::optional<T>(scalar_from<T>(*node));
                          },
                          [&]<class T>(std::vector<T>* v) {
                            v->clear();
                            if (node->is_scalar()) {  // one value stands for a list of one
                              v->push_back(scalar_from<T>(*node));
                              return;
                            }
                            GM_CHECK(node->is_sequence(), kInvalidArgument, node->where(), ": '",
                                     info.key, "': expected a list");
                            for (const YamlNode& item : node->items) {
                              v->push_back(scalar_from<T>(item));
                            }
                          }},
               member);
  }

  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    if (const YamlNode* node = lookup(info)) {
      load_fields(*node, describe);
    }
  }

  void list(const FieldInfo& info, const ListRef& member) override {
    const YamlNode* node = lookup(info);
    if (node == nullptr) {
      return;
    }
    member.clear();
    if (node->is_null()) {
      return;
    }
    if (member.is_map) {
      GM_CHECK(node->is_map(), kInvalidArgument, node->where(), ": '", info.key,
               "': expected a map of names");
      // All names before any value: a map sorts them, so which index a name gets is known when the
      // last one is in.
      for (const auto& [key, value] : node->entries) {
        member.append(key);
      }
      for (std::size_t i = 0; i < member.size(); ++i) {
        load_fields(*node->find(member.key(i)), [&](FieldVisitor& v) { member.describe(i, v); });
      }
      return;
    }
    GM_CHECK(node->is_sequence(), kInvalidArgument, node->where(), ": '", info.key,
             "': expected a list");
    for (std::size_t i = 0; i < node->items.size(); ++i) {
      member.append("");
      load_fields(node->items[i], [&](FieldVisitor& v) { member.describe(i, v); });
    }
  }

 private:
  /// Also takes down that the key is known, whether the file has it or not.
  const YamlNode* lookup(const FieldInfo& info) {
    known_.insert(info.key);
    return node_.find(info.key);
  }

  const YamlNode& node_;
  std::set<std::string> known_;
};

class Dumper final : public FieldVisitor {
 public:
  explicit Dumper(int indent) : indent_(indent) {}
  std::string text;

 protected:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    line(info.key + ": " + member_text(member));
  }

  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    Dumper inner(indent_ + 2);
    describe(inner);
    line(info.key + (inner.text.empty() ? ": {}" : ":"));
    text += inner.text;
  }

  void list(const FieldInfo& info, const ListRef& member) override {
    if (member.size() == 0) {
      line(info.key + (member.is_map ? ": {}" : ": []"));
      return;
    }
    line(info.key + ":");
    for (std::size_t i = 0; i < member.size(); ++i) {
      Dumper inner(indent_ + 4);
      member.describe(i, inner);
      if (member.is_map) {
        text += std::string(static_cast<std::size_t>(indent_) + 2, ' ') +
                yaml_quote(member.key(i)) + (inner.text.empty() ? ": {}\n" : ":\n") + inner.text;
      } else {
        // The item was dumped four deeper; the dash goes into that space, before its first key.
        inner.text[static_cast<std::size_t>(indent_) + 2] = '-';
        text += inner.text;
      }
    }
  }

 private:
  void line(const std::string& content) {
    text += std::string(static_cast<std::size_t>(indent_), ' ') + content + "\n";
  }
  int indent_;
};

class Documenter final : public FieldVisitor {
 public:
  explicit Documenter(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string text;

 protected:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    std::string shown = member_text(member);
    // Quotes alone would look like a mistake in a table.
    if (shown == "\"\"") {
      shown = "(empty)";
    }
    row(info.key, "`" + shown + "`", info);
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    row(info.key, "", info);
    Documenter inner(prefix_ + info.key + ".");
    describe(inner);
    text += inner.text;
  }
  void list(const FieldInfo& info, const ListRef& member) override {
    const std::string key = info.key + (member.is_map ? ".NAME" : "[]");
    row(key, "", info);
    Documenter inner(prefix_ + key + ".");
    member.describe_default(inner);
    text += inner.text;
  }

 private:
  void row(const std::string& key, const std::string& shown, const FieldInfo& info) {
    text += "| `" + prefix_ + key + "` | " + shown + " | " + info.unit + " | " + info.help + " |\n";
  }
  std::string prefix_;
};

/// Collects what counts in an identity.
class Lister final : public FieldVisitor {
 public:
  Lister(std::string prefix, std::vector<DescribedField>& out)
      : prefix_(std::move(prefix)), out_(out) {}

 protected:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    if (!counts(info)) {
      return;
    }
    if (info.use == FieldUse::kInput) {
      input(prefix_ + info.key, member);
    } else {
      out_.push_back({prefix_ + info.key, member_text(member)});
    }
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    if (counts(info)) {
      Lister inner(prefix_ + info.key + ".", out_);
      describe(inner);
    }
  }
  void list(const FieldInfo& info, const ListRef& member) override {
    if (!counts(info) || member.size() == 0) {
      return;
    }
    const std::string key = prefix_ + info.key;
    out_.push_back({key, entries_text(member)});
    for (std::size_t i = 0; i < member.size(); ++i) {
      Lister inner(member.is_map ? concat(key, ".", yaml_quote(member.key(i)), ".")
                                 : concat(key, "[", i, "]."),
                   out_);
      member.describe(i, inner);
    }
  }

 private:
  static bool counts(const FieldInfo& info) {
    return info.use != FieldUse::kPlace && !info.is_neutral;
  }

  /// Entries whose members are all left out count as well.
  static std::string entries_text(const ListRef& member) {
    if (!member.is_map) {
      return list_text(member.size());
    }
    std::string out;
    for (std::size_t i = 0; i < member.size(); ++i) {
      out += (i == 0 ? "" : ", ") + yaml_quote(member.key(i));
    }
    return "{" + out + "}";
  }

  /// A path that is not given is a value like any other.
  void input(const std::string& key, const ScalarRef& member) {
    const auto add = [this, &key](const std::string& path) {
      out_.push_back(path.empty() ? DescribedField{key, yaml_quote(path)}
                                  : DescribedField{key, path, FieldUse::kInput});
    };
    if (const auto* path = std::get_if<std::string*>(&member)) {
      add(**path);
    } else if (const auto* maybe = std::get_if<std::optional<std::string>*>(&member)) {
      add((*maybe)->value_or(""));
    } else if (const auto* paths = std::get_if<std::vector<std::string>*>(&member)) {
      for (std::size_t i = 0; i < (*paths)->size(); ++i) {
        out_.push_back({concat(key, "[", i, "]"), (**paths)[i], FieldUse::kInput});
      }
    } else {
      GM_ASSERT(false && "an input is a path");
    }
  }

  std::string prefix_;
  std::vector<DescribedField>& out_;
};

/// list_fields() of a YAML tree: `key` names `node`, `name` is the last part of it.
void list_node(const YamlNode& node, const std::string& key, const std::string& name,
               std::span<const std::string> input_keys, std::vector<DescribedField>& out) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      out.push_back({key, "null"});
      break;
    case YamlNode::Kind::kScalar:
      if (std::find(input_keys.begin(), input_keys.end(), name) != input_keys.end()) {
        out.push_back({key, node.scalar, FieldUse::kInput});
      } else {
        // What stands in the file without quotes is a number or flag, and must differ from text.
        const bool is_plain = !node.quoted && node.scalar.find('\n') == std::string::npos;
        out.push_back({key, is_plain ? node.scalar : yaml_quote(node.scalar)});
      }
      break;
    case YamlNode::Kind::kSequence:
      if (!node.items.empty()) {
        out.push_back({key, list_text(node.items.size())});
      }
      for (std::size_t i = 0; i < node.items.size(); ++i) {
        list_node(node.items[i], concat(key, "[", i, "]"), name, input_keys, out);
      }
      break;
    case YamlNode::Kind::kMap:
      for (const auto& [inner, value] : node.entries) {
        list_node(value, (key.empty() ? "" : key + ".") + yaml_quote(inner), inner, input_keys,
                  out);
      }
      break;
  }
}

}  // namespace

std::vector<DescribedField> list_fields(const DescribeFn& describe) {
  std::vector<DescribedField> out;
  Lister lister("", out);
  describe(lister);
  return out;
}

std::vector<DescribedField> list_fields(const YamlNode& node,
                                        std::span<const std::string> input_keys) {
  std::vector<DescribedField> out;
  list_node(node, "", "", input_keys, out);
  return out;
}

void load_fields(const YamlNode& node, const DescribeFn& describe) {
  GM_CHECK(node.is_map() || node.is_null(), kInvalidArgument, node.where(),
           ": expected a map of keys");
  Loader loader(node);
  describe(loader);
  loader.finish();
}

std::string dump_fields(const DescribeFn& describe) {
  Dumper dumper(0);
  describe(dumper);
  return dumper.text;
}

std::string document_fields(const DescribeFn& describe) {
  Documenter documenter("");
  describe(documenter);
  return documenter.text;
}

std::string nearest_name(const std::string& word, std::span<const std::string> candidates) {
  // Levenshtein's distance, one row of its table at a time. More than a third of the word (at least
  // two letters) is another word and no slip.
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) {
      row[j] = j;
    }
    for (std::size_t i = 1; i <= word.size(); ++i) {
      // `diagonal` is the table's entry up and to the left, which row[j - 1] has overwritten.
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j < row.size(); ++j) {
        const std::size_t above = row[j];
        row[j] = std::min(
            {row[j] + 1, row[j - 1] + 1, diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1)});
        diagonal = above;
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace growmerge
