#include "data/tokenizer_trainer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/tokenizer/byte_alphabet.h"
#include "core/tokenizer/scanner.h"
#include "core/tokenizer/spec.h"
#include "core/tokenizer/tokenizer.h"
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

std::vector<std::string> reserved_tokens(const TokenizerTrainConfig& config) {
  std::vector<std::string> out = {config.bos_token, config.eos_token};
  out.insert(out.end(), config.special_tokens.begin(), config.special_tokens.end());
  return out;
}

tok::Scanner make_scanner(bool split_digits) {
  std::vector<tok::PreTokenizerSpec> specs(1);  // ByteLevel with GPT-2's pattern
  if (split_digits) {
    tok::PreTokenizerSpec digits;
    digits.kind = tok::PreTokenizerSpec::Kind::kDigits;
    digits.individual_digits = true;
    specs.insert(specs.begin(), digits);
  }
  const std::optional<tok::Scanner> scanner = tok::Scanner::for_pre_tokenizers(specs);
  GM_ASSERT(scanner.has_value());
  return *scanner;
}

void count_words(std::string_view text, const tok::Scanner& scanner, WordCounts& counts) {
  // The scanner walks code points.
  if (const auto bad = find_invalid_utf8(text)) {
    fail(ErrorCode::kCorrupt, "text to train a tokenizer on is not valid UTF-8 at byte ", *bad,
         " of ", text.size());
  }
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = scanner.word_end(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    const auto it = counts.find(word);
    if (it != counts.end()) {
      ++it->second;
    } else {
      counts.emplace(word, 1);
    }
    begin = end;
  }
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

LearnedMerges learn(const TokenizerTrainConfig& config, const WordCounts& counts) {
  const tok::ByteAlphabet alphabet;
  // Ids: special tokens, then the 256 bytes, then what is learnt, as the tokenizers package numbers
  // them.
  std::vector<std::string> tokens = reserved_tokens(config);
  const std::size_t num_reserved = tokens.size();
  const std::vector<std::string> characters = sorted_alphabet(alphabet);
  tokens.insert(tokens.end(), characters.begin(), characters.end());
  std::vector<std::int32_t> byte_ids(256);
  for (std::size_t b = 0; b < 256; ++b) {
    const auto it = std::lower_bound(characters.begin(), characters.end(),
                                     alphabet.character(static_cast<unsigned char>(b)));
    byte_ids[b] =
        static_cast<std::int32_t>(num_reserved + static_cast<std::size_t>(it - characters.begin()));
  }
  std::vector<CountedWord> words;
  words.reserve(counts.size());
  // Hash order; merges do not depend on it.
  for (const auto& [text, count] : counts) {
    CountedWord word{{}, count};
    for (const char b : text) {
      word.symbols.push_back(byte_ids[static_cast<unsigned char>(b)]);
    }
    words.push_back(std::move(word));
  }
  Progress progress("learning merges", config.vocab_size, "tokens", true);
  LearnedMerges learned =
      learn_merges(std::move(words), std::move(tokens), num_reserved, config.vocab_size,
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

std::string write_tokenizer(const TokenizerTrainConfig& config, const LearnedMerges& learned) {
  Json root;
  root["version"] = "1.0";
  root["truncation"] = nullptr;
  root["padding"] = nullptr;
  root["added_tokens"] = Json::array();
  const std::vector<std::string> reserved = reserved_tokens(config);
  for (std::size_t i = 0; i < reserved.size(); ++i) {
    // The field names and order are those that the tokenizers package writes, so its reader takes
    // the file.
    root["added_tokens"].push_back({{"id", i},
                                    {"content", reserved[i]},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = byte_level();
  if (config.split_digits) {
    root["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         Json::array({{{"type", "Digits"}, {"individual_digits", true}}, byte_level()})}};
  }
  const std::string& bos = config.bos_token;
  // BOS in front; EOS is added by the stage that tokenizes, which knows where documents end.
  root["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       Json::array({template_piece("SpecialToken", bos, 0), template_piece("Sequence", "A", 0)})},
      {"pair",
       Json::array({template_piece("SpecialToken", bos, 0), template_piece("Sequence", "A", 0),
                    template_piece("SpecialToken", bos, 1), template_piece("Sequence", "B", 1)})},
      {"special_tokens",
       {{bos, {{"id", bos}, {"ids", Json::array({0})}, {"tokens", Json::array({bos})}}}}}};
  root["decoder"] = byte_level();
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
  root["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", std::move(vocab)},
                   {"merges", std::move(merges)}};
  return root.dump(2) + "\n";
}

std::string write_tokenizer_config(const TokenizerTrainConfig& config) {
  Json root;
  root["tokenizer_class"] = "PreTrainedTokenizerFast";
  root["bos_token"] = config.bos_token;
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
  const std::vector<std::string> reserved = reserved_tokens(*this);
  // Without all bytes some text could not be written at all.
  const auto smallest = static_cast<std::int64_t>(256 + reserved.size());
  GM_CHECK(vocab_size >= smallest && vocab_size <= 1 << 20, kInvalidArgument,
           "vocab_size: expected ", smallest, " (256 bytes and ", reserved.size(),
           " special tokens) to ", 1 << 20, ", got ", vocab_size);
  GM_CHECK(min_frequency >= 1, kInvalidArgument, "min_frequency: expected at least 1, got ",
           min_frequency);
  std::set<std::string> seen;
  for (const std::string& token : reserved) {
    // One character could be one of the alphabet.
    GM_CHECK(count_code_points(token) >= 2 && !find_invalid_utf8(token), kInvalidArgument,
             "special token '", token, "': expected at least 2 characters");
    GM_CHECK(seen.insert(token).second, kInvalidArgument, "special token '", token,
             "' is there twice");
  }
}

TrainedTokenizer train_tokenizer(const TokenizerTrainConfig& config, const TextSource& source) {
  config.validate();
  const tok::Scanner scanner = make_scanner(config.split_digits);
  WordCounts counts;
  TrainedTokenizer out;
  for (std::string text; source(text);) {
    count_words(text, scanner, counts);
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
