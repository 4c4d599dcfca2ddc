#include "core/base/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge {
namespace {

/// Fills `map` with the entries of a merge key's value that it does not have itself: those of a
/// map, or of several, of which an earlier one goes first.
void merge_into(YamlNode& map, const YamlNode& value) {
  if (value.is_sequence()) {
    for (const YamlNode& item : value.items) {
      GM_CHECK(item.is_map(), kInvalidArgument, item.where(),
               ": '<<' takes a map or a list of maps, as an alias names one");
      merge_into(map, item);
    }
    return;
  }
  GM_CHECK(value.is_map(), kInvalidArgument, value.where(),
           ": '<<' takes a map or a list of maps, as an alias names one");
  for (const auto& [key, entry] : value.entries) {
    if (map.find(key) == nullptr) {
      map.entries.emplace_back(key, entry);
    }
  }
}

/// yaml-cpp's nodes as ours. Its marks count lines and columns from 0, people from 1.
YamlNode convert(const YAML::Node& node, const std::string& file) {
  YamlNode out;
  out.file = file;
  const YAML::Mark mark = node.Mark();
  out.line = mark.line + 1;
  out.column = mark.column + 1;
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      out.kind = YamlNode::Kind::kNull;
      break;
    case YAML::NodeType::Scalar:
      out.kind = YamlNode::Kind::kScalar;
      out.scalar = node.Scalar();
      // yaml-cpp's mark of a scalar in quotes.
      out.quoted = node.Tag() == "!";
      break;
    case YAML::NodeType::Sequence:
      out.kind = YamlNode::Kind::kSequence;
      for (const auto& item : node) {
        out.items.push_back(convert(item, file));
      }
      break;
    case YAML::NodeType::Map: {
      out.kind = YamlNode::Kind::kMap;
      std::vector<YamlNode> merged;
      for (const auto& entry : node) {
        GM_CHECK(entry.first.IsScalar(), kInvalidArgument, file, ":", entry.first.Mark().line + 1,
                 ": a key must be a plain word");
        const std::string key = entry.first.Scalar();
        // yaml-cpp keeps both and lets one of them win.
        if (const YamlNode* earlier = out.find(key)) {
          fail(ErrorCode::kInvalidArgument, file, ":", entry.first.Mark().line + 1,
               ": duplicate key '", key, "' (first at line ", earlier->line,
               "): remove one of the two");
        }
        YamlNode value = convert(entry.second, file);
        if (key == "<<" && entry.first.Tag() != "!") {
          merged.push_back(std::move(value));
          continue;
        }
        // Nothing has no place of its own: complaints name its key's.
        if (value.is_null()) {
          value.line = entry.first.Mark().line + 1;
          value.column = entry.first.Mark().column + 1;
        }
        out.entries.emplace_back(key, std::move(value));
      }
      // Last: what the map says itself goes first, wherever it stands.
      for (const YamlNode& value : merged) {
        merge_into(out, value);
      }
      break;
    }
  }
  return out;
}

/// Goes through a text before it becomes nodes, and refuses what would never end: aliases that
/// stand inside what they stand for, aliases of aliases that multiply (a "billion laughs"), lists
/// in lists without end, and a stray "," or "]" between documents, at which yaml-cpp's LoadAll()
/// stays for ever.
class EndlessGuard : public YAML::EventHandler {
 public:
  explicit EndlessGuard(const std::string& name) : name_(name) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (mark.pos == last_document_) {
      refuse(mark, "not valid YAML: nothing can begin with the character that stands here");
    }
    last_document_ = mark.pos;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t anchor) override { add(anchor, 1); }
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t anchor,
                const std::string&) override {
    add(anchor, 1);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor);
  }
  void OnMapEnd() override { close(); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto is_this = [anchor](const Open& one) { return one.anchor == anchor; };
    if (std::any_of(open_.begin(), open_.end(), is_this)) {
      refuse(mark, "an alias stands inside what it stands for");
    }
    const std::size_t nodes = nodes_of_[anchor];
    copied_ += nodes;
    if (copied_ > kMostCopied) {
      refuse(mark, concat("the aliases up to here stand for more than ", kMostCopied, " values"));
    }
    add(0, nodes);
  }

 private:
  struct Open {
    YAML::anchor_t anchor;  // 0: none
    std::size_t nodes;      // inside, those of aliases included
  };
  static constexpr std::size_t kDeepest = 200;
  static constexpr std::size_t kMostCopied = 20'000;

  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& why) const {
    fail(ErrorCode::kInvalidArgument, name_, ":", mark.line + 1, ":", mark.column + 1, ": ", why);
  }
  void open(const YAML::Mark& mark, YAML::anchor_t anchor) {
    open_.push_back({anchor, 1});
    if (open_.size() > kDeepest) {
      refuse(mark, concat("lists or maps are nested more than ", kDeepest, " deep"));
    }
  }
  void close() {
    const Open done = open_.back();
    open_.pop_back();
    add(done.anchor, done.nodes);
  }
  void add(YAML::anchor_t anchor, std::size_t nodes) {
    if (anchor != 0) {
      nodes_of_[anchor] = nodes;
    }
    if (!open_.empty()) {
      open_.back().nodes += nodes;
    }
  }

  const std::string& name_;
  int last_document_ = -1;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, std::size_t> nodes_of_;
  std::size_t copied_ = 0;
};

void check_ends(const std::string& text, const std::string& name) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  EndlessGuard guard(name);
  while (parser.HandleNextDocument(guard)) {
  }
}

/// The one place where yaml-cpp's exceptions become ours.
template <class Fn>
auto translate(const std::string& name, Fn&& fn) {
  try {
    return fn();
  } catch (const YAML::Exception& e) {
    fail(ErrorCode::kInvalidArgument, name, ":", e.mark.line + 1, ":", e.mark.column + 1,
         ": not valid YAML: ", e.msg);
  }
}

[[noreturn]] void wrong_type(const YamlNode& node, const char* expected) {
  const char* kinds[] = {"nothing", "a value", "a list", "a map"};
  if (node.is_scalar()) {
    fail(ErrorCode::kInvalidArgument, node.where(), ": expected ", expected, ", got '", node.scalar,
         "'");
  }
  fail(ErrorCode::kInvalidArgument, node.where(), ": expected ", expected, ", got ",
       kinds[static_cast<int>(node.kind)]);
}

std::string without_underscores(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c != '_') {
      out.push_back(c);
    }
  }
  return out;
}

/// A number as people write it in configs: 1_000, 6e5, +3, 2.5M.
std::optional<double> to_number(const std::string& raw) {
  std::string text = without_underscores(raw);
  double scale = 1.0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'k':
        scale = 1e3;
        break;
      case 'M':
        scale = 1e6;
        break;
      case 'G':
        scale = 1e9;
        break;
      default:
        break;
    }
    if (scale != 1.0) {
      text.pop_back();
    }
  }
  // from_chars takes no plus sign; unlike strtod it knows no locale.
  if (!text.empty() && text.front() == '+') {
    text.erase(text.begin());
  }
  double value = 0.0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || status != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value * scale;
}

}  // namespace

const YamlNode* YamlNode::find(const std::string& key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) {
      return &value;
    }
  }
  return nullptr;
}

YamlNode* YamlNode::find(const std::string& key) {
  // One search for both; this object is not const here.
  return const_cast<YamlNode*>(static_cast<const YamlNode*>(this)->find(key));
}

std::string YamlNode::where() const {
  return line == 0 ? file : concat(file, ":", line, ":", column);
}

bool YamlNode::as_bool() const {
  if (is_scalar()) {
    if (scalar == "true" || scalar == "True" || scalar == "yes" || scalar == "on") {
      return true;
    }
    if (scalar == "false" || scalar == "False" || scalar == "no" || scalar == "off") {
      return false;
    }
  }
  wrong_type(*this, "true or false");
}

std::int64_t YamlNode::as_int() const {
  if (is_scalar() && !quoted) {
    // Digits alone are read as they are: a double is exact up to 2^53, about 9.007e15, only.
    const std::string digits = without_underscores(scalar);
    std::int64_t exact = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), exact);
    if (status == std::errc() && !digits.empty() && end == digits.data() + digits.size()) {
      return exact;
    }
    const std::optional<double> value = to_number(scalar);
    if (value && std::floor(*value) == *value && std::abs(*value) < 9.0e15) {
      return static_cast<std::int64_t>(*value);
    }
  }
  wrong_type(*this, "a whole number");
}

double YamlNode::as_double() const {
  if (is_scalar() && !quoted) {
    const std::optional<double> value = to_number(scalar);
    if (value && std::isfinite(*value)) {
      return *value;
    }
  }
  wrong_type(*this, "a number");
}

const std::string& YamlNode::as_string() const {
  if (!is_scalar()) {
    wrong_type(*this, "a text");
  }
  return scalar;
}

YamlNode parse_yaml_text(const std::string& text, const std::string& name) {
  return translate(name, [&] {
    check_ends(text, name);
    // All, because Load() would take the first one and drop the rest unseen.
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.empty()) {
      return convert(YAML::Node(), name);
    }
    GM_CHECK(documents.size() == 1, kInvalidArgument, name, ":", documents[1].Mark().line + 1,
             ": a second document begins, one is expected: remove the '---' between them, or "
             "write two files");
    return convert(documents.front(), name);
  });
}

std::vector<YamlNode> parse_yaml_documents(const std::string& text, const std::string& name) {
  return translate(name, [&] {
    check_ends(text, name);
    std::vector<YamlNode> out;
    for (const YAML::Node& document : YAML::LoadAll(text)) {
      YamlNode node = convert(document, name);
      if (!node.is_null()) {
        out.push_back(std::move(node));
      }
    }
    return out;
  });
}

YamlNode parse_yaml_file(const std::filesystem::path& path) {
  return parse_yaml_text(read_file(path), path.string());
}

void apply_override(YamlNode& root, const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string name = concat("--set ", assignment);
  GM_CHECK(equals != std::string::npos && equals > 0, kInvalidArgument, name,
           ": expected key=value");
  YamlNode value = parse_yaml_text(assignment.substr(equals + 1), name);
  // A complaint about this value shall name the option and not a line of some file.
  const std::function<void(YamlNode&)> mark = [&](YamlNode& node) {
    node.file = name;
    node.line = 0;
    for (YamlNode& item : node.items) {
      mark(item);
    }
    for (auto& [key, child] : node.entries) {
      mark(child);
    }
  };
  mark(value);
  YamlNode* at = &root;
  std::stringstream path(assignment.substr(0, equals));
  for (std::string part; std::getline(path, part, '.');) {
    GM_CHECK(!part.empty(), kInvalidArgument, name, ": empty part in the key");
    // Lists are indexed; all else is a key, made where it is missing.
    if (at->is_sequence()) {
      std::size_t index = 0;
      const auto [end, status] = std::from_chars(part.data(), part.data() + part.size(), index);
      GM_CHECK(
          status == std::errc() && end == part.data() + part.size() && index < at->items.size(),
          kInvalidArgument, name, ": '", part, "' is not an index into a list of ",
          at->items.size());
      at = &at->items[index];
      continue;
    }
    if (at->is_null()) {
      at->kind = YamlNode::Kind::kMap;
    }
    GM_CHECK(at->is_map(), kInvalidArgument, name, ": '", part, "' lies below a plain value");
    YamlNode* next = at->find(part);
    if (next == nullptr) {
      YamlNode fresh;
      fresh.file = name;
      at->entries.emplace_back(part, fresh);
      next = &at->entries.back().second;
    }
    at = next;
  }
  *at = std::move(value);
}

std::string yaml_quote(const std::string& text) {
  const auto is_plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '/' ||
           c == '.' || c == '+';
  };
  // What YAML would read as a number, a truth value or nothing needs quotes to stay a text.
  const bool plain =
      !text.empty() && text.front() != '-' && std::all_of(text.begin(), text.end(), is_plain) &&
      !to_number(text) && text != "true" && text != "false" && text != "yes" && text != "no" &&
      text != "on" && text != "off" && text != "null" && text != "True" && text != "False";
  if (plain) {
    return text;
  }
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace growmerge
