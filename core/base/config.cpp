#include "core/base/config.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/base/error.h"

namespace growmerge {
namespace {

template <class... Fns>
struct Overloaded : Fns... {
  using Fns::operator()...;
};

std::string number_text(double value) {
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

class Loader final : public FieldVisitor {
 public:
  explicit Loader(const YamlNode& node) : node_(node) {}

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

class Flattener final : public FieldVisitor {
 public:
  explicit Flattener(std::string prefix) : prefix_(std::move(prefix)) {}
  std::vector<std::pair<std::string, std::string>> values;

 protected:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    values.emplace_back(prefix_ + info.key, member_text(member));
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    Flattener inner(prefix_ + info.key + ".");
    describe(inner);
    take(inner);
  }
  void list(const FieldInfo& info, const ListRef& member) override {
    for (std::size_t i = 0; i < member.size(); ++i) {
      const std::string key = member.is_map ? member.key(i) : std::to_string(i);
      Flattener inner(prefix_ + info.key + "." + key + ".");
      member.describe(i, inner);
      take(inner);
    }
  }

 private:
  void take(Flattener& inner) {
    values.insert(values.end(), inner.values.begin(), inner.values.end());
  }
  std::string prefix_;
};

}  // namespace

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

std::vector<std::pair<std::string, std::string>> field_values(const DescribeFn& describe) {
  Flattener flattener("");
  describe(flattener);
  return std::move(flattener.values);
}

std::string document_fields(const DescribeFn& describe) {
  Documenter documenter("");
  describe(documenter);
  return documenter.text;
}

std::string nearest_name(const std::string& word, std::span<const std::string> candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) {
      row[j] = j;
    }
    for (std::size_t i = 1; i <= word.size(); ++i) {
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
