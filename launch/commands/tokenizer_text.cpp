#include "launch/commands/tokenizer_text.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "core/base/format.h"
#include "core/base/white_space.h"
#include "core/tokenizer/tokenizer.h"
#include "data/document_reader.h"
#include "eval/encode.h"
#include "launch/report/table.h"

namespace growmerge::launch {
namespace {

using Json = nlohmann::ordered_json;

/// DEL and the controls behind it, which valid JSON may hold and a terminal obeys.
bool holds_controls(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x7F' ||
        (text[i] == '\xC2' && static_cast<unsigned char>(text[i + 1]) < 0xA0)) {
      return true;
    }
  }
  return false;
}

void print_line(const Json& json) {
  std::string text = json.dump();
  if (holds_controls(text)) {
    text = json.dump(-1, ' ', true);  // in ASCII
  }
  std::printf("%s\n", text.c_str());
}

/// Calls fn(text) for every document of a file (or folder, or pattern), or for the word itself
/// where no file has its name.
void for_each_text(const std::string& word, const std::function<void(const std::string&)>& fn) {
  std::error_code error;
  if (!std::filesystem::exists(word, error)) {
    fn(word);
    return;
  }
  data::TextInput input;
  input.path = word;
  data::DocumentReader reader(input);
  while (const auto document = reader.next()) {
    fn(document->text);
  }
}

/// The number of characters that begin before a byte, for bytes asked for in rising order.
class CharacterCounter {
 public:
  explicit CharacterCounter(std::string_view text) : text_(text) {}
  std::int64_t before(std::size_t byte) {
    if (byte < at_) {
      at_ = 0;
      count_ = 0;
    }
    for (; at_ < byte; ++at_) {
      count_ += begins(at_) ? 1 : 0;
    }
    return count_;
  }
  [[nodiscard]] bool begins(std::size_t byte) const {
    return byte >= text_.size() || (static_cast<unsigned char>(text_[byte]) & 0xC0) != 0x80;
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
  std::int64_t count_ = 0;
};

void print_encoded_text(const Tokenizer& tokenizer, const std::string& text) {
  Json line{{"ids", Json::array()}, {"pieces", Json::array()}, {"offsets", Json::array()}};
  CharacterCounter characters(text);
  for (const TokenSpan& token : tokenizer.encode_spans(text, true)) {
    line["ids"].push_back(token.id);
    line["pieces"].push_back(tokenizer.id_to_token(token.id));
    // Whole characters: a token of one byte stands for the character that it is part of.
    std::size_t begin = token.begin;
    while (!characters.begins(begin)) {
      --begin;
    }
    const std::int64_t first = characters.before(begin);
    line["offsets"].push_back({first, characters.before(token.end)});
  }
  print_line(line);
}

std::vector<std::int32_t> ids_of(const std::string& text, const std::string& where) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_object() && json.contains("ids")) {
    json = Json(json["ids"]);
  }
  if (json.is_number()) {
    json = Json::array({json});
  }
  GM_CHECK(json.is_array(), kInvalidArgument, where, ": expected token ids as [1, 2, 3], or the ",
           "lines that 'tokenizer encode' prints, got '", text.substr(0, 60), "'");
  std::vector<std::int32_t> ids;
  for (const Json& id : json) {
    GM_CHECK(id.is_number_integer() && id.get<std::int64_t>() >= 0 &&
                 id.get<std::int64_t>() <= INT32_MAX,
             kInvalidArgument, where, ": expected a token id, got ",
             id.is_primitive() ? id.dump() : id.type_name());
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

/// What tokens of a text are, summed over documents.
struct TextCounts {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  std::int64_t words = 0;
  std::int64_t characters = 0;
  std::int64_t bytes = 0;
  std::int64_t split_characters = 0;  // with a token's end inside
  std::int64_t unknown = 0;
  std::int64_t byte_tokens = 0;
};

void count_text(const Tokenizer& tokenizer, const std::string& text, TextCounts& counts) {
  counts.documents += 1;
  counts.words += count_words(text);
  counts.characters += eval::count_characters(text);
  counts.bytes += static_cast<std::int64_t>(text.size());
  const CharacterCounter characters(text);
  std::size_t last_split = text.size();
  for (const TokenSpan& token : tokenizer.encode_spans(text, false)) {
    const TokenKind kind = tokenizer.kind(token.id);
    counts.tokens += 1;
    counts.unknown += kind == TokenKind::kUnknown ? 1 : 0;
    counts.byte_tokens += kind == TokenKind::kByte ? 1 : 0;
    std::size_t begin = token.end;
    while (!characters.begins(begin)) {
      --begin;
    }
    if (begin != token.end && begin != last_split) {
      last_split = begin;
      counts.split_characters += 1;
    }
  }
}

std::vector<std::string> stats_row(const std::string& name, const TextCounts& counts) {
  const auto ratio = [](std::int64_t a, std::int64_t b) {
    return format_number("%.3f", static_cast<double>(a) / static_cast<double>(b));
  };
  const auto percent = [](std::int64_t a, std::int64_t b) {
    return format_number("%.3f", 100.0 * static_cast<double>(a) / static_cast<double>(b));
  };
  return {name,
          format_count(counts.documents),
          format_count(counts.tokens),
          format_count(counts.words),
          ratio(counts.tokens, counts.words),
          ratio(counts.characters, counts.tokens),
          ratio(counts.bytes, counts.tokens),
          percent(counts.split_characters, counts.characters),
          percent(counts.unknown, counts.tokens),
          percent(counts.byte_tokens, counts.tokens)};
}

}  // namespace

NamedText named_text(const std::string& word) {
  // A path with "=" in it needs a name in front.
  const std::size_t equals = word.find('=');
  return equals == std::string::npos ? NamedText{word, word}
                                     : NamedText{word.substr(0, equals), word.substr(equals + 1)};
}

void print_encoded(const std::vector<std::string>& words) {
  const Tokenizer tokenizer = Tokenizer::load(words[0]);
  for (std::size_t i = 1; i < words.size(); ++i) {
    for_each_text(words[i], [&](const std::string& text) { print_encoded_text(tokenizer, text); });
  }
}

void print_decoded(const std::vector<std::string>& words) {
  const Tokenizer tokenizer = Tokenizer::load(words[0]);
  const auto print = [&](const std::string& ids, const std::string& where) {
    print_line(Json{{"text", tokenizer.decode(ids_of(ids, where), false)}});
  };
  for (std::size_t i = 1; i < words.size(); ++i) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(words[i], error)) {
      print(words[i], "decode");
      continue;
    }
    std::ifstream in(words[i]);
    GM_CHECK(in.good(), kIo, "cannot read '", words[i], "'");
    std::int64_t number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (!line.empty()) {
        print(line, concat(words[i], ":", number));
      }
    }
  }
}

void print_tokenizer_stats(const std::vector<std::string>& words) {
  const Tokenizer tokenizer = Tokenizer::load(words[0]);
  Table table;
  table.title = "What " + words[0] + " makes of text";
  table.columns = {"text",        "documents",   "tokens",        "words",     "tokens/word",
                   "chars/token", "bytes/token", "split chars %", "unknown %", "byte tokens %"};
  for (std::size_t i = 1; i < words.size(); ++i) {
    const NamedText text = named_text(words[i]);
    TextCounts counts;
    data::TextInput input;
    input.path = text.path;
    input.language = text.name;
    // Document by document: text may be larger than memory.
    data::DocumentReader reader(input);
    while (const auto document = reader.next()) {
      count_text(tokenizer, document->text, counts);
    }
    GM_CHECK(counts.tokens > 0 && counts.words > 0, kInvalidArgument, "'", text.path,
             "' holds no text");
    table.rows.push_back(stats_row(text.name, counts));
  }
  std::fputs(table_text(table).c_str(), stdout);
}

}  // namespace growmerge::launch
