// What a tokenizer.json says, as plain structs: read and checked in one place, so that everything
// behind it deals with no JSON. Sequences of normalizers, pre-tokenizers and decoders are flattened
// to lists.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace growmerge::tok {

struct PatternSpec {
  std::string text;
  bool is_regex = false;  // else a literal
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class PrependScheme { kAlways, kFirst, kNever };

struct NormalizerSpec {
  enum class Kind {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kStrip,
    kPrepend,
    kReplace,
    kLowercase,
    kStripAccents,
    kNmt,
    kPrecompiled,
    kByteLevel,
  };
  Kind kind = Kind::kNfc;
  PatternSpec pattern;  // kReplace
  std::string content;  // kReplace, kPrepend; kPrecompiled: the rules
  bool strip_left = false;
  bool strip_right = false;
};

struct PreTokenizerSpec {
  enum class Kind {
    kByteLevel,
    kDigits,
    kSplit,
    kMetaspace,
    kPunctuation,
    kWhitespace,
    kWhitespaceSplit,
    kFixedLength,
  };
  Kind kind = Kind::kByteLevel;
  bool add_prefix_space = false;  // kByteLevel
  bool use_regex = true;          // kByteLevel
  bool individual_digits = false;
  PatternSpec pattern;                                    // kSplit
  SplitBehavior behavior = SplitBehavior::kIsolated;      // kSplit, kPunctuation
  bool invert = false;                                    // kSplit
  std::string replacement;                                // kMetaspace
  PrependScheme prepend_scheme = PrependScheme::kAlways;  // kMetaspace
  bool split = true;                                      // kMetaspace
  std::size_t length = 0;                                 // kFixedLength, in characters
};

/// One step of a post-processor: ids in front of and behind what is there.
struct TemplateSpec {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> after;
};

struct DecoderSpec {
  enum class Kind { kByteLevel, kReplace, kByteFallback, kFuse, kStrip, kMetaspace };
  Kind kind = Kind::kByteLevel;
  PatternSpec pattern;      // kReplace
  std::string content;      // kReplace, kStrip
  std::size_t start = 0;    // kStrip
  std::size_t stop = 0;     // kStrip
  std::string replacement;  // kMetaspace
  PrependScheme prepend_scheme = PrependScheme::kAlways;
};

struct AddedTokenSpec {
  std::string content;
  std::int32_t id = 0;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

struct BpeSpec {
  std::vector<std::pair<std::string, std::int32_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;
  std::string unk_token;  // empty: none
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

struct UnigramSpec {
  std::vector<std::pair<std::string, double>> vocab;  // piece and score; its place is its id
  std::optional<std::int32_t> unk_id;
  bool byte_fallback = false;
};

struct TokenizerSpec {
  std::vector<AddedTokenSpec> added_tokens;
  std::vector<NormalizerSpec> normalizers;
  std::vector<PreTokenizerSpec> pre_tokenizers;
  std::variant<BpeSpec, UnigramSpec> model;
  std::vector<TemplateSpec> templates;
  std::vector<DecoderSpec> decoders;
  /// What of the file is left aside, by name: truncation and padding, which are settings of a call.
  std::vector<std::string> ignored;
};

/// Errors: kCorrupt for broken JSON, a missing field or one of a wrong type; kUnsupported naming a
/// part that is not understood.
[[nodiscard]] TokenizerSpec parse_spec(const std::string& json_text);

}  // namespace growmerge::tok
