// growmerge tokenizer: train a BPE tokenizer, or see what one makes of text.
#include "core/tokenizer/tokenizer.h"
#include "core/base/format.h"

#include <cstdio>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/white_space.h"
#include "data/document_reader.h"
#include "data/tokenizer_trainer.h"
#include "eval/encode.h"
#include "launch/commands/commands.h"
#include "launch/commands/tokenizer_text.h"
#include "launch/report/table.h"

namespace growmerge::launch {
namespace {

using data::TokenizerTrainConfig;

StagePlan plan(const TokenizerTrainConfig& config) {
  StagePlan out;
  out.stage = "tokenizer";
  // Merges are learned one after another from counts of the whole text.
  out.max_ranks = 1;
  for (std::size_t i = 0; i < config.inputs.size(); ++i) {
    const std::string path = config.inputs[i].path;
    out.inputs.push_back({concat("text ", i), path, [path] { return data::expand_input(path); }});
  }
  return out;
}

std::string estimate(const TokenizerTrainConfig& config, int ranks) {
  return "writes    tokenizer.json and tokenizer_config.json, " + format_count(config.vocab_size) +
         " tokens\nmemory    the distinct words of the text\n";
}

void work(const TokenizerTrainConfig& config, StageRun& run) {
  const data::TokenizerTrainSummary summary = data::train_tokenizer(config, run.dir);
  run.manifest.notes["vocab_size"] = std::to_string(summary.vocab_size);
  run.manifest.notes["documents"] = std::to_string(summary.documents);
  log_info(concat("learned ", format_count(summary.merges), " merges from ",
                  format_count(summary.words), " distinct words in ",
                  format_bytes(static_cast<double>(summary.bytes))));
}

std::vector<std::string> fertility_row(const Tokenizer& tokenizer, const NamedText& text) {
  data::TextInput input;
  input.path = text.path;
  input.language = text.name;
  data::DocumentReader reader(input);
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;
  std::int64_t words = 0;
  std::int64_t characters = 0;
  // Document by document: text may be larger than memory.
  while (const auto document = reader.next()) {
    tokens += static_cast<std::int64_t>(tokenizer.encode(document->text, false).size());
    bytes += static_cast<std::int64_t>(document->text.size());
    words += count_words(document->text);
    characters += eval::count_characters(document->text);
  }
  GM_CHECK(tokens > 0 && words > 0, kInvalidArgument, "'", text.path, "' holds no text");
  // The same denominator throughout, so that the columns can be divided by one another.
  const auto over = [tokens](std::int64_t a) {
    return static_cast<double>(a) / static_cast<double>(tokens);
  };
  return {text.name,
          format_count(tokens),
          format_count(words),
          format_number("%.3f", 1.0 / over(words)),
          format_number("%.3f", over(characters)),
          format_number("%.3f", over(bytes))};
}

void print_fertility(const std::vector<std::string>& words) {
  const Tokenizer tokenizer = Tokenizer::load(words[0]);
  std::printf("%s tokens, hash %s\n", format_count(tokenizer.vocab_size()).c_str(),
              tokenizer.hash().c_str());
  Table table;
  table.title = "Fertility";
  table.columns = {"text", "tokens", "words", "tokens/word", "characters/token", "bytes/token"};
  for (std::size_t i = 1; i < words.size(); ++i) {
    table.rows.push_back(fertility_row(tokenizer, named_text(words[i])));
  }
  // Without text there is only the tokenizer to speak of.
  if (!table.rows.empty()) {
    std::fputs(table_text(table).c_str(), stdout);
  }
}

/// What looks at a tokenizer and writes nothing: `tokenizer NAME TOKENIZER [WORD...]`.
struct Inspection {
  const char* name;
  const char* usage;  // of the words behind the tokenizer
  std::size_t least_words;
  bool takes_text;  // a word that is no file's name is text, or ids
  void (*print)(const std::vector<std::string>& words);
};
constexpr Inspection kInspections[] = {
    {"inspect", "[LANG=TEXT...]", 1, false, print_fertility},
    {"encode", "TEXT...", 2, true, print_encoded},
    {"decode", "IDS...", 2, true, print_decoded},
    {"stats", "LANG=TEXT...", 2, false, print_tokenizer_stats},
};

const Inspection* find_inspection(const CommandLine& line) {
  for (const Inspection& inspection : kInspections) {
    if (!line.paths.empty() && line.paths.front() == inspection.name) {
      return &inspection;
    }
  }
  return nullptr;
}

int inspect_tokenizer(const CommandLine& line) {
  const Inspection& inspection = *find_inspection(line);
  const std::vector<std::string> words(line.paths.begin() + 1, line.paths.end());
  GM_CHECK(words.size() >= inspection.least_words, kInvalidArgument, "growmerge tokenizer ",
           inspection.name, " TOKENIZER ", inspection.usage);
  if (line.dry_run) {
    std::error_code error;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (i > 0 && inspection.takes_text && !std::filesystem::exists(words[i], error)) {
        continue;  // the text itself, or ids
      }
      std::printf("reads     %s\n", i == 0 ? words[i].c_str() : named_text(words[i]).path.c_str());
    }
    std::printf("writes    nothing\n");
    return 0;
  }
  inspection.print(words);
  return 0;
}

}  // namespace

Command tokenizer_command() {
  Command out;
  out.name = "tokenizer";
  out.doc = "train a BPE tokenizer, or see what one makes of text (ids, pieces, statistics)";
  out.usage =
      "[train] [LANG=TEXT...] --out DIR  |  inspect | encode | decode | stats TOKENIZER ...";
  out.details =
      "train [LANG=TEXT...]               learns from text and writes tokenizer.json (the "
      "default)\n"
      "inspect TOKENIZER [LANG=TEXT...]   size and hash; tokens per word and bytes per token\n"
      "encode TOKENIZER TEXT...           a JSON line a text: ids, pieces, and offsets, which "
      "count\n"
      "                                   characters; TEXT is a file where one has that name\n"
      "decode TOKENIZER IDS...            a JSON line a list: IDS is [1,2], or a file of such "
      "lines\n"
      "stats TOKENIZER LANG=TEXT...       tokens per word, bytes per token, characters that "
      "tokens\n"
      "                                   cut apart, unknown and byte tokens, of each file\n";
  set_stage<TokenizerTrainConfig>(out, plan, estimate, work);
  out.is_inspection = [](const CommandLine& line) { return find_inspection(line) != nullptr; };
  out.inspect = inspect_tokenizer;
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    const std::size_t first = !paths.empty() && paths.front() == "train" ? 1 : 0;
    if (paths.size() == first) {
      return;
    }
    GM_CHECK(config.find("inputs") == nullptr, kInvalidArgument,
             "'tokenizer': give the text as paths or as 'inputs' in the config, not both");
    YamlNode list;
    list.kind = YamlNode::Kind::kSequence;
    for (std::size_t i = first; i < paths.size(); ++i) {
      const NamedText text = named_text(paths[i]);
      YamlNode item;
      item.kind = YamlNode::Kind::kMap;
      set_scalar(item, "language", text.name);
      set_scalar(item, "path", text.path);
      list.items.push_back(std::move(item));
    }
    config.entries.emplace_back("inputs", std::move(list));
  };
  return out;
}

}  // namespace growmerge::launch
