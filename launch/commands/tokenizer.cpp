// growmerge tokenizer: train a byte-level BPE tokenizer, or see what one makes of text.
#include "core/tokenizer/tokenizer.h"
#include "core/base/format.h"

#include <cstdio>

#include "core/base/error.h"
#include "core/base/log.h"
#include "data/document_reader.h"
#include "data/tokenizer_trainer.h"
#include "eval/encode.h"
#include "launch/commands/commands.h"
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

/// LANG=PATH, or a path alone, which names itself.
struct NamedText {
  std::string name;
  std::string path;
};
NamedText named_text(const std::string& word) {
  // A path with "=" in it needs a name in front.
  const std::size_t equals = word.find('=');
  return equals == std::string::npos ? NamedText{word, word}
                                     : NamedText{word.substr(0, equals), word.substr(equals + 1)};
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
    words += eval::count_words(document->text);
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

int inspect_tokenizer(const CommandLine& line) {
  GM_CHECK(line.paths.size() >= 2, kInvalidArgument,
           "growmerge tokenizer inspect TOKENIZER [LANG=TEXT...]");
  if (line.dry_run) {
    for (std::size_t i = 1; i < line.paths.size(); ++i) {
      std::printf("reads     %s\n",
                  i == 1 ? line.paths[i].c_str() : named_text(line.paths[i]).path.c_str());
    }
    std::printf("writes    nothing\n");
    return 0;
  }
  const Tokenizer tokenizer = Tokenizer::load(line.paths[1]);
  std::printf("%s tokens, hash %s\n", format_count(tokenizer.vocab_size()).c_str(),
              tokenizer.hash().c_str());
  Table table;
  table.title = "Fertility";
  table.columns = {"text", "tokens", "words", "tokens/word", "characters/token", "bytes/token"};
  for (std::size_t i = 2; i < line.paths.size(); ++i) {
    table.rows.push_back(fertility_row(tokenizer, named_text(line.paths[i])));
  }
  // Without text there is only the tokenizer to speak of.
  if (!table.rows.empty()) {
    std::fputs(table_text(table).c_str(), stdout);
  }
  return 0;
}

}  // namespace

Command tokenizer_command() {
  Command out;
  out.name = "tokenizer";
  out.doc = "train a byte-level BPE tokenizer, or inspect one (fertility per language)";
  out.usage = "[train] [LANG=TEXT...] --out DIR  |  inspect TOKENIZER [LANG=TEXT...]";
  out.details =
      "`train` (the default) learns from text and writes tokenizer.json. `inspect` prints tokens\n"
      "per word and bytes per token of each text.\n";
  set_stage<TokenizerTrainConfig>(out, plan, estimate, work);
  out.is_inspection = [](const CommandLine& line) {
    return !line.paths.empty() && line.paths.front() == "inspect";
  };
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
