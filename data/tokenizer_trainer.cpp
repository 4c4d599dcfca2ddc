#include "data/tokenizer_trainer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/tokenizer/added_tokens.h"
#include "core/tokenizer/byte_alphabet.h"
#include "core/tokenizer/pre_tokenizer.h"
#include "core/tokenizer/spec.h"
#include "core/tokenizer/token_map.h"
#include "core/tokenizer/tokenizer.h"
#include "core/tokenizer/unicode.h"
#include "data/bpe_trainer.h"
#include "data/utf8.h"

namespace growmerge::data {
namespace {

using Json = nlohmann::ordered_json;  // files keep the order in which fields are written

struct StringHash {
  // Finds by string_view: no string is made for a word that is known.
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using WordCounts = std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>>;

constexpr const char* kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's space

std::vector<std::string> all_special_tokens(const TokenizerTrainConfig& config) {
  std::vector<std::string> out;
  if (config.bos_token) {
    out.push_back(*config.bos_token);
  }
  out.push_back(config.eos_token);
  out.insert(out.end(), config.special_tokens.begin(), config.special_tokens.end());
  return out;
}

/// How text is cut into words, the same in training and in the file that is written.
std::vector<tok::PreTokenizerSpec> pre_tokenizers(const TokenizerTrainConfig& config) {
  std::vector<tok::PreTokenizerSpec> specs;
  if (config.split_digits) {
    specs.emplace_back();
    specs.back().kind = tok::PreTokenizerSpec::Kind::kDigits;
    specs.back().individual_digits = true;
  }
  specs.emplace_back();  // ByteLevel with GPT-2's pattern
  if (config.byte_fallback) {
    specs.back().kind = tok::PreTokenizerSpec::Kind::kMetaspace;
    specs.back().replacement = kSpace;
    specs.back().prepend_scheme = tok::PrependScheme::kNever;
  }
  return specs;
}

/// Finds the special tokens in text.
tok::AddedTokenMatcher special_matcher(const TokenizerTrainConfig& config) {
  const std::vector<std::string> texts = all_special_tokens(config);
  std::vector<tok::AddedTokenSpec> tokens(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    tokens[i].content = texts[i];
    tokens[i].id = static_cast<std::int32_t>(i);
  }
  return {std::move(tokens), texts};
}

void count_words(std::string_view text, const tok::AddedTokenMatcher& specials,
                 const tok::PreTokenizer& pre_tokenizer, WordCounts& counts) {
  // Pre-tokenizers walk code points.
  if (const auto bad = find_invalid_utf8(text)) {
    fail(ErrorCode::kCorrupt, "text to train a tokenizer on is not valid UTF-8 at byte ", *bad,
         " of ", text.size());
  }
  specials.split(text, [&](const tok::AddedTokenMatcher::Piece& piece) {
    if (piece.id >= 0) {
      return;  // encoding cuts it out before there are words
    }
    pre_tokenizer.for_each_word(piece.text, false, [&](std::string_view word) {
      const auto it = counts.find(word);
      if (it != counts.end()) {
        ++it->second;
      } else {
        counts.emplace(word, 1);
      }
    });
  });
}

/// The alphabet's characters in the order of their code points, which is that of their UTF-8.
std::vector<std::string> sorted_alphabet(const tok::ByteAlphabet& alphabet) {
  std::vector<std::string> out;
  for (int b = 0; b < 256; ++b) {
    out.push_back(alphabet.character(static_cast<unsigned char>(b)));
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// What merges are learned from: the first tokens, and words as their ids.
struct Symbols {
  std::vector<std::string> tokens;
  std::size_t num_reserved = 0;
  std::vector<CountedWord> words;
};

/// Ids: special tokens, then the 256 bytes, as the tokenizers package numbers them.
Symbols byte_symbols(const TokenizerTrainConfig& config, const WordCounts& counts) {
  const tok::ByteAlphabet alphabet;
  Symbols out;
  out.tokens = all_special_tokens(config);
  out.num_reserved = out.tokens.size();
  const std::vector<std::string> characters = sorted_alphabet(alphabet);
  out.tokens.insert(out.tokens.end(), characters.begin(), characters.end());
  std::vector<std::int32_t> byte_ids(256);
  for (std::size_t b = 0; b < 256; ++b) {
    const auto it = std::lower_bound(characters.begin(), characters.end(),
                                     alphabet.character(static_cast<unsigned char>(b)));
    byte_ids[b] = static_cast<std::int32_t>(out.num_reserved +
                                            static_cast<std::size_t>(it - characters.begin()));
  }
  out.words.reserve(counts.size());
  // Hash order; merges do not depend on it.
  for (const auto& [text, count] : counts) {
    CountedWord word{{}, count};
    for (const char b : text) {
      word.symbols.push_back(byte_ids[static_cast<unsigned char>(b)]);
    }
    out.words.push_back(std::move(word));
  }
  return out;
}

/// The most frequent characters, which together are at least `coverage` of all, in the order of
/// their code points. Of equally frequent ones the smaller code point comes first.
std::vector<std::string> frequent_characters(const WordCounts& counts, double coverage) {
  std::map<std::string, std::int64_t, std::less<>> found;
  std::int64_t total = 0;
  for (const auto& [text, count] : counts) {
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t length = tok::utf8_length(text[i]);
      found[text.substr(i, length)] += count;
      total += count;
      i += length;
    }
  }
  std::vector<std::pair<std::string, std::int64_t>> ranked(found.begin(), found.end());
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> out;
  std::int64_t covered = 0;
  for (const auto& [character, count] : ranked) {
    if (static_cast<double>(covered) >= coverage * static_cast<double>(total)) {
      break;
    }
    covered += count;
    out.push_back(character);
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// Ids: special tokens, the byte tokens, the characters. A rare character, which its bytes will
/// stand for, parts a word in two.
Symbols character_symbols(const TokenizerTrainConfig& config, const WordCounts& counts) {
  Symbols out;
  out.tokens = all_special_tokens(config);
  for (unsigned b = 0; b < 256; ++b) {
    std::array<char, 8> name{};
    std::snprintf(name.data(), name.size(), "<0x%02X>", b);
    out.tokens.emplace_back(name.data());
  }
  out.num_reserved = out.tokens.size();
  std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>> ids;
  for (std::string& character : frequent_characters(counts, config.character_coverage)) {
    ids.emplace(character, static_cast<std::int32_t>(out.tokens.size()));
    out.tokens.push_back(std::move(character));
  }
  GM_CHECK(out.tokens.size() <= static_cast<std::size_t>(config.vocab_size), kInvalidArgument,
           "vocab_size: ", config.vocab_size, " is too few for ", out.num_reserved,
           " special and byte tokens and ", ids.size(),
           " characters: raise it, or lower character_coverage");
  for (const auto& [text, count] : counts) {
    CountedWord word{{}, count};
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t length = tok::utf8_length(text[i]);
      const auto id = ids.find(std::string_view(text).substr(i, length));
      i += length;
      if (id != ids.end()) {
        word.symbols.push_back(id->second);
      } else if (!word.symbols.empty()) {
        out.words.push_back(std::exchange(word, {{}, count}));
      }
    }
    if (!word.symbols.empty()) {
      out.words.push_back(std::move(word));
    }
  }
  return out;
}

LearnedMerges learn(const TokenizerTrainConfig& config, const WordCounts& counts) {
  Symbols symbols =
      config.byte_fallback ? character_symbols(config, counts) : byte_symbols(config, counts);
  Progress progress("learning merges", config.vocab_size, "tokens", true);
  LearnedMerges learned = learn_merges(
      std::move(symbols.words), std::move(symbols.tokens), symbols.num_reserved, config.vocab_size,
      config.min_frequency, [&](std::int64_t done) { progress.update(done); });
  progress.finish();
  return learned;
}

Json template_piece(const char* kind, const std::string& id, int type_id) {
  return {{kind, {{"id", id}, {"type_id", type_id}}}};
}

/// No prefix space: a text's first word is then another token than the same word inside, as in
/// GPT-2, and decoding gives the text back.
Json byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", true}};
}

Json metaspace() {
  return {
      {"type", "Metaspace"}, {"replacement", kSpace}, {"prepend_scheme", "never"}, {"split", true}};
}

Json added_tokens(const TokenizerTrainConfig& config) {
  Json out = Json::array();
  for (const std::string& content : all_special_tokens(config)) {
    // The field names and order are those that the tokenizers package writes, so its reader takes
    // the file.
    out.push_back({{"id", out.size()},
                   {"content", content},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", true}});
  }
  return out;
}

/// BOS in front; EOS is added by the stage that tokenizes, which knows where documents end.
Json post_processor(const TokenizerTrainConfig& config) {
  if (!config.bos_token) {
    return nullptr;
  }
  const std::string& bos = *config.bos_token;
  return {
      {"type", "TemplateProcessing"},
      {"single",
       Json::array({template_piece("SpecialToken", bos, 0), template_piece("Sequence", "A", 0)})},
      {"pair",
       Json::array({template_piece("SpecialToken", bos, 0), template_piece("Sequence", "A", 0),
                    template_piece("SpecialToken", bos, 1), template_piece("Sequence", "B", 1)})},
      {"special_tokens",
       {{bos, {{"id", bos}, {"ids", Json::array({0})}, {"tokens", Json::array({bos})}}}}}};
}

Json decoder(const TokenizerTrainConfig& config) {
  if (!config.byte_fallback) {
    return byte_level();
  }
  const Json space = {{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}};
  return {
      {"type", "Sequence"},
      {"decoders", Json::array({space, Json{{"type", "ByteFallback"}}, Json{{"type", "Fuse"}}})}};
}

Json model(const TokenizerTrainConfig& config, const LearnedMerges& learned) {
  Json vocab = Json::object();
  for (std::size_t i = 0; i < learned.tokens.size(); ++i) {
    // Past the JSON object's own insertion, which would search all names before each new one.
    vocab.get_ref<Json::object_t&>().emplace_back(learned.tokens[i], i);
  }
  Json merges = Json::array();
  for (const auto& [left, right] : learned.merges) {
    merges.push_back(Json::array({learned.tokens[static_cast<std::size_t>(left)],
                                  learned.tokens[static_cast<std::size_t>(right)]}));
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", config.byte_fallback},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

std::string write_tokenizer(const TokenizerTrainConfig& config, const LearnedMerges& learned) {
  Json root;
  root["version"] = "1.0";
  root["truncation"] = nullptr;
  root["padding"] = nullptr;
  root["added_tokens"] = added_tokens(config);
  root["normalizer"] = nullptr;
  const Json words = config.byte_fallback ? metaspace() : byte_level();
  root["pre_tokenizer"] = words;
  if (config.split_digits) {
    root["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers", Json::array({{{"type", "Digits"}, {"individual_digits", true}}, words})}};
  }
  root["post_processor"] = post_processor(config);
  root["decoder"] = decoder(config);
  root["model"] = model(config, learned);
  return root.dump(2) + "\n";
}

std::string write_tokenizer_config(const TokenizerTrainConfig& config) {
  Json root;
  root["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (config.bos_token) {
    root["bos_token"] = *config.bos_token;
  }
  root["eos_token"] = config.eos_token;
  if (!config.special_tokens.empty()) {
    root["additional_special_tokens"] = config.special_tokens;
  }
  // Transformers would otherwise remove spaces before punctuation when it decodes.
  root["clean_up_tokenization_spaces"] = false;
  return root.dump(2) + "\n";
}

}  // namespace

void TokenizerTrainConfig::validate() const {
  const std::vector<std::string> reserved = all_special_tokens(*this);
  // Without all bytes some text could not be written at all.
  const auto smallest = static_cast<std::int64_t>(256 + reserved.size());
  GM_CHECK(vocab_size >= smallest && vocab_size <= 1 << 20, kInvalidArgument,
           "vocab_size: expected ", smallest, " (256 bytes and ", reserved.size(),
           " special tokens) to ", 1 << 20, ", got ", vocab_size);
  GM_CHECK(character_coverage > 0.0 && character_coverage <= 1.0, kInvalidArgument,
           "character_coverage: expected over 0, up to 1, got ", character_coverage);
  GM_CHECK(min_frequency >= 1, kInvalidArgument, "min_frequency: expected at least 1, got ",
           min_frequency);
  std::set<std::string> seen;
  for (const std::string& token : reserved) {
    // One character could be one of the alphabet.
    GM_CHECK(count_code_points(token) >= 2 && !find_invalid_utf8(token), kInvalidArgument,
             "special token '", token, "': expected at least 2 characters");
    GM_CHECK(!byte_fallback || tok::byte_of_token(token) < 0, kInvalidArgument, "special token '",
             token, "' is a byte token, too");
    GM_CHECK(seen.insert(token).second, kInvalidArgument, "special token '", token,
             "' is there twice");
  }
}

TrainedTokenizer train_tokenizer(const TokenizerTrainConfig& config, const TextSource& source) {
  config.validate();
  const tok::PreTokenizer pre_tokenizer(pre_tokenizers(config));
  const tok::AddedTokenMatcher specials = special_matcher(config);
  WordCounts counts;
  TrainedTokenizer out;
  for (std::string text; source(text);) {
    count_words(text, specials, pre_tokenizer, counts);
    ++out.summary.documents;
    out.summary.bytes += static_cast<std::int64_t>(text.size());
  }
  GM_CHECK(!counts.empty(), kInvalidArgument, "training a tokenizer: the inputs hold no text (",
           out.summary.documents, " documents)");
  const LearnedMerges learned = learn(config, counts);
  out.summary.words = static_cast<std::int64_t>(counts.size());
  out.summary.vocab_size = static_cast<std::int64_t>(learned.tokens.size());
  out.summary.merges = static_cast<std::int64_t>(learned.merges.size());
  if (out.summary.vocab_size < config.vocab_size) {
    log_warning(concat("the text gives only ", out.summary.vocab_size, " tokens of the ",
                       config.vocab_size, " asked for: no other pair of symbols occurs ",
                       config.min_frequency, " times (min_frequency)"));
  }
  out.tokenizer_json = write_tokenizer(config, learned);
  out.tokenizer_config_json = write_tokenizer_config(config);
  return out;
}

TokenizerTrainSummary train_tokenizer(const TokenizerTrainConfig& config,
                                      const std::filesystem::path& dir) {
  GM_CHECK(!config.inputs.empty(), kInvalidArgument, "inputs: expected at least one, got none");
  std::size_t input = 0;
  std::optional<DocumentReader> reader;
  const TrainedTokenizer trained = train_tokenizer(config, [&](std::string& text) {
    while (input < config.inputs.size()) {
      if (!reader) {
        reader.emplace(config.inputs[input]);
      }
      if (std::optional<Document> document = reader->next()) {
        text = std::move(document->text);
        return true;
      }
      reader.reset();
      ++input;
    }
    return false;
  });
  // What was written must be read again: a mistake shows here and not in the next stage.
  (void)Tokenizer::parse(trained.tokenizer_json, "the trained tokenizer");
  write_file_atomically(dir / "tokenizer.json", trained.tokenizer_json);
  write_file_atomically(dir / "tokenizer_config.json", trained.tokenizer_config_json);
  return trained.summary;
}

}  // namespace growmerge::data
