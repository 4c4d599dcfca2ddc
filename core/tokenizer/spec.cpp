#include "core/tokenizer/spec.h"

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/base/error.h"
#include "core/tokenizer/json_fields.h"
#include "core/tokenizer/json_text.h"
#include "core/tokenizer/model_spec.h"
#include "core/tokenizer/precompiled.h"

namespace growmerge::tok {
namespace {

PatternSpec pattern_field(const Json& object, const std::string& what) {
  const Json& pattern = require_field(object, "pattern", what);
  if (pattern.is_object() && pattern.size() == 1) {
    if (find_field(pattern, "String") != nullptr) {
      return {string_field(pattern, "String", what), false};
    }
    if (find_field(pattern, "Regex") != nullptr) {
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
  const std::string replacement = character_field(part, "replacement", what);
  const bool add_prefix = bool_field(part, "add_prefix_space", true, what);
  PrependScheme scheme = add_prefix ? PrependScheme::kAlways : PrependScheme::kNever;
  if (find_field(part, "prepend_scheme") != nullptr) {
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

/// Normalizers without settings.
constexpr std::pair<const char*, NormalizerSpec::Kind> kPlainNormalizers[] = {
    {"NFC", NormalizerSpec::Kind::kNfc},
    {"NFD", NormalizerSpec::Kind::kNfd},
    {"NFKC", NormalizerSpec::Kind::kNfkc},
    {"NFKD", NormalizerSpec::Kind::kNfkd},
    {"Lowercase", NormalizerSpec::Kind::kLowercase},
    {"StripAccents", NormalizerSpec::Kind::kStripAccents},
    {"Nmt", NormalizerSpec::Kind::kNmt},
    {"ByteLevel", NormalizerSpec::Kind::kByteLevel},
};

NormalizerSpec parse_normalizer(const std::string& type, const Json& part,
                                const std::string& what) {
  using Kind = NormalizerSpec::Kind;
  NormalizerSpec n;
  for (const auto& [name, kind] : kPlainNormalizers) {
    if (type == name) {
      n.kind = kind;
      return n;
    }
  }
  if (type == "Strip") {
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
  } else if (type == "Precompiled") {
    n.kind = Kind::kPrecompiled;
    n.content = decode_base64(string_field(part, "precompiled_charsmap", what));
  } else {
    fail(ErrorCode::kUnsupported, "normalizer '", type, "' is not understood");
  }
  return n;
}

std::vector<NormalizerSpec> parse_normalizers(const Json& root) {
  std::vector<NormalizerSpec> out;
  if (const Json* normalizer = find_field(root, "normalizer")) {
    for_each_part(*normalizer, "normalizer", "normalizers",
                  [&](const std::string& type, const Json& part, const std::string& what) {
                    out.push_back(parse_normalizer(type, part, what));
                  });
  }
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
    if (find_field(part, "behavior") != nullptr) {
      p.behavior = parse_behavior(part, what);
    }
  } else if (type == "Whitespace") {
    p.kind = Kind::kWhitespace;
  } else if (type == "WhitespaceSplit") {
    p.kind = Kind::kWhitespaceSplit;
  } else if (type == "CharDelimiterSplit") {
    p.kind = Kind::kSplit;
    p.pattern = {character_field(part, "delimiter", what), false};
    p.behavior = SplitBehavior::kRemoved;
  } else if (type == "FixedLength") {
    p.kind = Kind::kFixedLength;
    p.length = find_field(part, "length") != nullptr ? count_field(part, "length", what) : 5;
    GM_CHECK(p.length > 0, kCorrupt, what, ": field 'length': expected at least 1, got 0");
  } else {
    fail(ErrorCode::kUnsupported, "pre-tokenizer '", type, "' is not understood");
  }
  return p;
}

std::vector<PreTokenizerSpec> parse_pre_tokenizers(const Json& root) {
  std::vector<PreTokenizerSpec> out;
  if (const Json* pre = find_field(root, "pre_tokenizer")) {
    for_each_part(*pre, "pre-tokenizer", "pretokenizers",
                  [&](const std::string& type, const Json& part, const std::string& what) {
                    // What BERT's does is two others, one after the other.
                    if (type == "BertPreTokenizer") {
                      out.push_back(parse_pre_tokenizer("WhitespaceSplit", part, what));
                      out.push_back(parse_pre_tokenizer("Punctuation", part, what));
                      return;
                    }
                    out.push_back(parse_pre_tokenizer(type, part, what));
                  });
  }
  return out;
}

TemplateSpec parse_template(const Json& part, const std::string& what) {
  TemplateSpec out;
  const Json& specials = require_field(part, "special_tokens", what);
  require_object(specials, concat(what, " special_tokens"));
  bool seen_text = false;
  for (const Json& piece : require_array(part, "single", what)) {
    require_object(piece, concat(what, " piece"));
    // $A is where the text goes: special tokens before it in the list go in front.
    if (const Json* sequence = find_field(piece, "Sequence")) {
      require_object(*sequence, concat(what, " Sequence"));
      GM_CHECK(string_field(*sequence, "id", what) == "A" && !seen_text, kUnsupported, what,
               ": only a template with one $A is understood");
      seen_text = true;
      continue;
    }
    const Json& special = require_field(piece, "SpecialToken", what);
    require_object(special, concat(what, " SpecialToken"));
    const std::string name = string_field(special, "id", what);
    const Json* entry = find_field(specials, name.c_str());
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
  const Json* post = find_field(root, "post_processor");
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
  const Json* decoder = find_field(root, "decoder");
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
                    d.content = character_field(part, "content", what);
                    d.start = count_field(part, "start", what);
                    d.stop = count_field(part, "stop", what);
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

}  // namespace

TokenizerSpec parse_spec(const std::string& json_text) {
  const Json root = parse_json_text(json_text);
  require_object(root, "tokenizer");
  TokenizerSpec spec;
  for (const char* key : {"truncation", "padding"}) {
    if (find_field(root, key) != nullptr) {
      spec.ignored.emplace_back(key);
    }
  }
  spec.model = parse_model(root);
  spec.added_tokens = parse_added_tokens(root, spec.model);
  spec.normalizers = parse_normalizers(root);
  spec.pre_tokenizers = parse_pre_tokenizers(root);
  spec.templates = parse_post_processor(root);
  spec.decoders = parse_decoders(root);
  return spec;
}

}  // namespace growmerge::tok
