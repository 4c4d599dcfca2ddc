#include "core/tokenizer/spec.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/base/error.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

using Json = nlohmann::json;

// Ids over this would only make tables grow; the largest vocabularies have fewer than 2^18 tokens.
constexpr std::int64_t kMaxId = (1 << 24) - 1;

/// The field; nothing where it is missing or null, which mean the same here.
[[nodiscard]] const Json* find(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

void require_object(const Json& value, const std::string& what) {
  GM_CHECK(value.is_object(), kCorrupt, what, ": expected a JSON object, got ", value.type_name());
}

const Json& require(const Json& object, const char* key, const std::string& what) {
  const Json* value = find(object, key);
  GM_CHECK(value != nullptr, kCorrupt, what, ": field '", key, "' is missing");
  return *value;
}

const Json& require_array(const Json& object, const char* key, const std::string& what) {
  const Json& value = require(object, key, what);
  GM_CHECK(value.is_array(), kCorrupt, what, ": field '", key, "': expected a list, got ",
           value.type_name());
  return value;
}

std::string string_field(const Json& object, const char* key, const std::string& what) {
  const Json& value = require(object, key, what);
  GM_CHECK(value.is_string(), kCorrupt, what, ": field '", key, "': expected a string, got ",
           value.type_name());
  return value.get<std::string>();
}

bool bool_field(const Json& object, const char* key, bool fallback, const std::string& what) {
  const Json* value = find(object, key);
  if (value == nullptr) {
    return fallback;
  }
  GM_CHECK(value->is_boolean(), kCorrupt, what, ": field '", key, "': expected true or false, got ",
           value->type_name());
  return value->get<bool>();
}

std::int32_t id_value(const Json& value, const std::string& what) {
  GM_CHECK(value.is_number_integer(), kCorrupt, what, ": expected an id, got ", value.type_name());
  // Compared before it is narrowed: an id above 2^63 would come out negative.
  GM_CHECK(!value.is_number_unsigned() || value.get<std::uint64_t>() <= kMaxId, kUnsupported, what,
           ": id ", value.dump(), " is over ", kMaxId);
  const auto id = value.get<std::int64_t>();
  GM_CHECK(id >= 0, kCorrupt, what, ": id ", id, " is negative");
  return static_cast<std::int32_t>(id);
}

PatternSpec pattern_field(const Json& object, const std::string& what) {
  const Json& pattern = require(object, "pattern", what);
  if (pattern.is_object() && pattern.size() == 1) {
    if (find(pattern, "String") != nullptr) {
      return {string_field(pattern, "String", what), false};
    }
    if (find(pattern, "Regex") != nullptr) {
      return {string_field(pattern, "Regex", what), true};
    }
  }
  fail(ErrorCode::kCorrupt, what, ": field 'pattern': expected {\"String\": ...} or ",
       "{\"Regex\": ...}");
}

/// Calls fn(type, part) for a part or, when it is a Sequence, for each inside (at any depth).
template <class Fn>
void for_each_part(const Json& part, const char* family, const char* list_key, const Fn& fn,
                   int depth = 0) {
  require_object(part, family);
  GM_CHECK(depth < 16, kUnsupported, family, ": sequences are nested over 16 deep");
  const std::string type = string_field(part, "type", family);
  if (type == "Sequence") {
    for (const Json& inner : require_array(part, list_key, concat(family, " Sequence"))) {
      for_each_part(inner, family, list_key, fn, depth + 1);
    }
    return;
  }
  fn(type, part, concat(family, " ", type));
}

SplitBehavior parse_behavior(const Json& part, const std::string& what) {
  const std::string name = string_field(part, "behavior", what);
  static constexpr std::pair<const char*, SplitBehavior> kNames[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  for (const auto& [known, behavior] : kNames) {
    if (name == known) {
      return behavior;
    }
  }
  // Refused by name, here and below: a part that was left out in silence would give other tokens.
  fail(ErrorCode::kUnsupported, what, ": behavior '", name, "' is not understood");
}

/// Metaspace, of pre-tokenizers and decoders: {replacement, prepend_scheme}. Older files say
/// add_prefix_space instead.
std::pair<std::string, PrependScheme> parse_metaspace(const Json& part, const std::string& what) {
  const std::string replacement = string_field(part, "replacement", what);
  GM_CHECK(!replacement.empty() && utf8_length(replacement[0]) == replacement.size(), kCorrupt,
           what, ": field 'replacement': expected one character, got '", replacement, "'");
  const bool add_prefix = bool_field(part, "add_prefix_space", true, what);
  PrependScheme scheme = add_prefix ? PrependScheme::kAlways : PrependScheme::kNever;
  if (find(part, "prepend_scheme") != nullptr) {
    const std::string name = string_field(part, "prepend_scheme", what);
    GM_CHECK(name == "always" || name == "first" || name == "never", kUnsupported, what,
             ": prepend_scheme '", name, "' is not understood");
    scheme = name == "always"  ? PrependScheme::kAlways
             : name == "first" ? PrependScheme::kFirst
                               : PrependScheme::kNever;
    GM_CHECK(add_prefix || scheme == PrependScheme::kNever, kCorrupt, what,
             ": add_prefix_space is false and prepend_scheme is '", name, "'");
  }
  return {replacement, scheme};
}

std::vector<NormalizerSpec> parse_normalizers(const Json& root) {
  std::vector<NormalizerSpec> out;
  const Json* normalizer = find(root, "normalizer");
  if (normalizer == nullptr) {
    return out;
  }
  for_each_part(*normalizer, "normalizer", "normalizers",
                [&](const std::string& type, const Json& part, const std::string& what) {
                  using Kind = NormalizerSpec::Kind;
                  NormalizerSpec n;
                  if (type == "NFC") {
                    n.kind = Kind::kNfc;
                  } else if (type == "NFD") {
                    n.kind = Kind::kNfd;
                  } else if (type == "NFKC") {
                    n.kind = Kind::kNfkc;
                  } else if (type == "NFKD") {
                    n.kind = Kind::kNfkd;
                  } else if (type == "Strip") {
                    n.kind = Kind::kStrip;
                    n.strip_left = bool_field(part, "strip_left", true, what);
                    n.strip_right = bool_field(part, "strip_right", true, what);
                  } else if (type == "Prepend") {
                    n.kind = Kind::kPrepend;
                    n.content = string_field(part, "prepend", what);
                  } else if (type == "Replace") {
                    n.kind = Kind::kReplace;
                    n.pattern = pattern_field(part, what);
                    n.content = string_field(part, "content", what);
                  } else {
                    fail(ErrorCode::kUnsupported, "normalizer '", type, "' is not understood");
                  }
                  out.push_back(std::move(n));
                });
  return out;
}

PreTokenizerSpec parse_pre_tokenizer(const std::string& type, const Json& part,
                                     const std::string& what) {
  using Kind = PreTokenizerSpec::Kind;
  PreTokenizerSpec p;
  if (type == "ByteLevel") {
    p.kind = Kind::kByteLevel;
    p.add_prefix_space = bool_field(part, "add_prefix_space", true, what);
    p.use_regex = bool_field(part, "use_regex", true, what);
  } else if (type == "Digits") {
    p.kind = Kind::kDigits;
    p.individual_digits = bool_field(part, "individual_digits", false, what);
  } else if (type == "Split") {
    p.kind = Kind::kSplit;
    p.pattern = pattern_field(part, what);
    p.behavior = parse_behavior(part, what);
    p.invert = bool_field(part, "invert", false, what);
  } else if (type == "Metaspace") {
    p.kind = Kind::kMetaspace;
    std::tie(p.replacement, p.prepend_scheme) = parse_metaspace(part, what);
    p.split = bool_field(part, "split", true, what);
  } else if (type == "Punctuation") {
    p.kind = Kind::kPunctuation;
    if (find(part, "behavior") != nullptr) {
      p.behavior = parse_behavior(part, what);
    }
  } else if (type == "Whitespace") {
    p.kind = Kind::kWhitespace;
  } else if (type == "WhitespaceSplit") {
    p.kind = Kind::kWhitespaceSplit;
  } else {
    fail(ErrorCode::kUnsupported, "pre-tokenizer '", type, "' is not understood");
  }
  return p;
}

std::vector<PreTokenizerSpec> parse_pre_tokenizers(const Json& root) {
  std::vector<PreTokenizerSpec> out;
  if (const Json* pre = find(root, "pre_tokenizer")) {
    for_each_part(*pre, "pre-tokenizer", "pretokenizers",
                  [&](const std::string& type, const Json& part, const std::string& what) {
                    // ByteLevel's words are bytes, and what comes behind it would look for
                    // characters in them.
                    GM_CHECK(out.empty() || out.back().kind != PreTokenizerSpec::Kind::kByteLevel,
                             kUnsupported, "pre-tokenizer '", type,
                             "' behind ByteLevel is not understood: ByteLevel must be the last");
                    out.push_back(parse_pre_tokenizer(type, part, what));
                  });
  }
  return out;
}

TemplateSpec parse_template(const Json& part, const std::string& what) {
  TemplateSpec out;
  const Json& specials = require(part, "special_tokens", what);
  require_object(specials, concat(what, " special_tokens"));
  bool seen_text = false;
  for (const Json& piece : require_array(part, "single", what)) {
    require_object(piece, concat(what, " piece"));
    // $A is where the text goes: special tokens before it in the list go in front.
    if (const Json* sequence = find(piece, "Sequence")) {
      require_object(*sequence, concat(what, " Sequence"));
      GM_CHECK(string_field(*sequence, "id", what) == "A" && !seen_text, kUnsupported, what,
               ": only a template with one $A is understood");
      seen_text = true;
      continue;
    }
    const Json& special = require(piece, "SpecialToken", what);
    require_object(special, concat(what, " SpecialToken"));
    const std::string name = string_field(special, "id", what);
    const Json* entry = find(specials, name.c_str());
    GM_CHECK(entry != nullptr && entry->is_object(), kCorrupt, what, ": special token '", name,
             "' is not in special_tokens");
    for (const Json& id : require_array(*entry, "ids", what)) {
      (seen_text ? out.after : out.before).push_back(id_value(id, what));
    }
  }
  GM_CHECK(seen_text, kUnsupported, what, ": a template without $A is not understood");
  return out;
}

/// [name, id] of BertProcessing and RobertaProcessing.
std::int32_t parse_pair_id(const Json& part, const char* key, const std::string& what) {
  const Json& pair = require_array(part, key, what);
  GM_CHECK(pair.size() == 2, kCorrupt, what, ": field '", key, "': expected [token, id]");
  return id_value(pair[1], what);
}

std::vector<TemplateSpec> parse_post_processor(const Json& root) {
  std::vector<TemplateSpec> out;
  const Json* post = find(root, "post_processor");
  if (post == nullptr) {
    return out;
  }
  for_each_part(
      *post, "post-processor", "processors",
      [&](const std::string& type, const Json& part, const std::string& what) {
        if (type == "TemplateProcessing") {
          out.push_back(parse_template(part, what));
        } else if (type == "BertProcessing" || type == "RobertaProcessing") {
          out.push_back({{parse_pair_id(part, "cls", what)}, {parse_pair_id(part, "sep", what)}});
        } else {
          // ByteLevel changes offsets only.
          GM_CHECK(type == "ByteLevel", kUnsupported, "post-processor '", type,
                   "' is not understood");
        }
      });
  return out;
}

std::vector<DecoderSpec> parse_decoders(const Json& root) {
  std::vector<DecoderSpec> out;
  const Json* decoder = find(root, "decoder");
  if (decoder == nullptr) {
    return out;
  }
  for_each_part(*decoder, "decoder", "decoders",
                [&](const std::string& type, const Json& part, const std::string& what) {
                  using Kind = DecoderSpec::Kind;
                  DecoderSpec d;
                  if (type == "ByteLevel") {
                    d.kind = Kind::kByteLevel;
                  } else if (type == "Replace") {
                    d.kind = Kind::kReplace;
                    d.pattern = pattern_field(part, what);
                    d.content = string_field(part, "content", what);
                  } else if (type == "ByteFallback") {
                    d.kind = Kind::kByteFallback;
                  } else if (type == "Fuse") {
                    d.kind = Kind::kFuse;
                  } else if (type == "Strip") {
                    d.kind = Kind::kStrip;
                    d.content = string_field(part, "content", what);
                    GM_CHECK(!d.content.empty() && utf8_length(d.content[0]) == d.content.size(),
                             kCorrupt, what, ": field 'content': expected one character, got '",
                             d.content, "'");
                    const auto count = [&](const char* key) {
                      const Json& value = require(part, key, what);
                      GM_CHECK(value.is_number_unsigned(), kCorrupt, what, ": field '", key,
                               "': expected a count, got ", value.dump());
                      return value.get<std::size_t>();
                    };
                    d.start = count("start");
                    d.stop = count("stop");
                  } else if (type == "Metaspace") {
                    d.kind = Kind::kMetaspace;
                    std::tie(d.replacement, d.prepend_scheme) = parse_metaspace(part, what);
                  } else {
                    fail(ErrorCode::kUnsupported, "decoder '", type, "' is not understood");
                  }
                  out.push_back(std::move(d));
                });
  return out;
}

std::pair<std::string, std::string> parse_merge(const Json& merge, std::size_t index) {
  // Older files write "left right", newer ones [left, right], where tokens may hold spaces.
  if (merge.is_string()) {
    const std::string both = merge.get<std::string>();
    const std::size_t space = both.find(' ');
    GM_CHECK(space != std::string::npos && both.find(' ', space + 1) == std::string::npos, kCorrupt,
             "model merges: entry ", index, " '", both, "': expected two tokens and one space");
    return {both.substr(0, space), both.substr(space + 1)};
  }
  GM_CHECK(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
           kCorrupt, "model merges: entry ", index, ": expected a string or two, got ",
           merge.dump());
  return {merge[0].get<std::string>(), merge[1].get<std::string>()};
}

void check_empty_affix(const Json& model, const char* key) {
  const Json* value = find(model, key);
  GM_CHECK(value == nullptr || (value->is_string() && value->get<std::string>().empty()),
           kUnsupported, "model: ", key, " is not understood, only '' or null");
}

BpeSpec parse_model(const Json& root) {
  const Json& model = require(root, "model", "tokenizer");
  require_object(model, "model");
  // Very old files leave the type out.
  const std::string type =
      find(model, "type") != nullptr ? string_field(model, "type", "model") : "BPE";
  GM_CHECK(type == "BPE", kUnsupported, "model '", type, "' is not understood, only BPE");
  const Json* dropout = find(model, "dropout");
  // It would make encoding random.
  GM_CHECK(dropout == nullptr || (dropout->is_number() && dropout->get<double>() == 0.0),
           kUnsupported, "model: dropout is not supported: set it to null");
  check_empty_affix(model, "continuing_subword_prefix");
  check_empty_affix(model, "end_of_word_suffix");
  BpeSpec bpe;
  if (find(model, "unk_token") != nullptr) {
    bpe.unk_token = string_field(model, "unk_token", "model");
  }
  bpe.fuse_unk = bool_field(model, "fuse_unk", false, "model");
  bpe.byte_fallback = bool_field(model, "byte_fallback", false, "model");
  bpe.ignore_merges = bool_field(model, "ignore_merges", false, "model");
  const Json& vocab = require(model, "vocab", "model");
  require_object(vocab, "model vocab");
  // Two tokens of one id could not be decoded.
  std::unordered_set<std::int32_t> seen;
  for (const auto& [token, id] : vocab.items()) {
    const std::int32_t value = id_value(id, concat("model vocab: token '", token, "'"));
    GM_CHECK(seen.insert(value).second, kCorrupt, "model vocab: token '", token, "': id ", value,
             " belongs to another token, too");
    bpe.vocab.emplace_back(token, value);
  }
  std::size_t index = 0;
  for (const Json& merge : require_array(model, "merges", "model")) {
    bpe.merges.push_back(parse_merge(merge, index++));
  }
  return bpe;
}

AddedTokenSpec parse_added_token(const Json& entry) {
  require_object(entry, "added token");
  AddedTokenSpec token;
  token.content = string_field(entry, "content", "added token");
  const std::string what = concat("added token '", token.content, "'");
  token.id = id_value(require(entry, "id", what), what);
  token.single_word = bool_field(entry, "single_word", false, what);
  token.lstrip = bool_field(entry, "lstrip", false, what);
  token.rstrip = bool_field(entry, "rstrip", false, what);
  token.special = bool_field(entry, "special", false, what);
  token.normalized = bool_field(entry, "normalized", !token.special, what);
  return token;
}

/// The package gives a token that is not in the model's vocabulary the next free id, in the order
/// of the list and whatever the file says: where the two differ the file is refused.
std::vector<AddedTokenSpec> parse_added_tokens(const Json& root, const BpeSpec& model) {
  std::vector<AddedTokenSpec> out;
  const Json* list = find(root, "added_tokens");
  if (list == nullptr) {
    return out;
  }
  GM_CHECK(list->is_array(), kCorrupt, "added_tokens: expected a list, got ", list->type_name());
  std::unordered_map<std::string, std::int32_t> ids(model.vocab.begin(), model.vocab.end());
  std::unordered_map<std::int32_t, const std::string*> contents;
  for (const auto& [token, id] : model.vocab) {
    contents.emplace(id, &token);
  }
  std::unordered_set<std::string> seen;
  // The package's next free id: behind the vocabulary, and behind all added ones so far.
  std::int32_t max_added = -1;
  for (const Json& entry : *list) {
    AddedTokenSpec token = parse_added_token(entry);
    const std::string what = concat("added token '", token.content, "'");
    GM_CHECK(!token.content.empty(), kCorrupt, "added token ", token.id, " is empty");
    GM_CHECK(seen.insert(token.content).second, kCorrupt, what, " is there twice");
    const auto known = ids.find(token.content);
    GM_CHECK(known == ids.end() || known->second == token.id, kCorrupt, what, " has id ", token.id,
             ", in the model's vocabulary it has ", known->second);
    const std::int32_t next = std::max(max_added + 1, static_cast<std::int32_t>(ids.size()));
    GM_CHECK(known != ids.end() || token.id == next, kUnsupported, what, " has id ", token.id,
             ", and the tokenizers package would give it ", next,
             ": number added tokens without gaps, in the order of the list");
    const auto owner = contents.find(token.id);
    GM_CHECK(owner == contents.end() || *owner->second == token.content, kCorrupt, what, ": id ",
             token.id, " belongs to '", *owner->second, "'");
    max_added = std::max(max_added, token.id);
    out.push_back(std::move(token));
  }
  return out;
}

}  // namespace

TokenizerSpec parse_spec(const std::string& json_text) {
  Json root;
  try {
    root = Json::parse(json_text);
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorrupt, "not valid JSON: ", e.what());
  }
  require_object(root, "tokenizer");
  for (const char* key : {"truncation", "padding"}) {
    GM_CHECK(find(root, key) == nullptr, kUnsupported, key,
             " is not supported: set it to null in the file");
  }
  TokenizerSpec spec;
  spec.model = parse_model(root);
  spec.added_tokens = parse_added_tokens(root, spec.model);
  spec.normalizers = parse_normalizers(root);
  spec.pre_tokenizers = parse_pre_tokenizers(root);
  spec.templates = parse_post_processor(root);
  spec.decoders = parse_decoders(root);
  return spec;
}

}  // namespace growmerge::tok
