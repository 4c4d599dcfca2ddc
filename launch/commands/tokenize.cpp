// growmerge tokenize: text to token shards, on all ranks.
#include "data/tokenize.h"
#include "core/base/format.h"

#include <ATen/Parallel.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "launch/commands/commands.h"

namespace growmerge::launch {
namespace {

using data::TokenizeConfig;

StagePlan plan(const TokenizeConfig& config) {
  StagePlan out;
  out.stage = "tokenize";
  out.inputs.push_back({"tokenizer", config.tokenizer});
  for (std::size_t i = 0; i < config.inputs.size(); ++i) {
    const std::string path = config.inputs[i].path;
    out.inputs.push_back({concat("text ", i), path, [path] { return data::expand_input(path); }});
  }
  return out;
}

std::string estimate(const TokenizeConfig& config, int ranks) {
  std::string text;
  double bytes = 0.0;
  for (const data::TokenizePlan::File& file : data::plan_tokenize(config).files) {
    text += "reads     " + file.language + ": " + file.path.string() + " (" +
            format_bytes(static_cast<double>(file.bytes)) + ")\n";
    bytes += static_cast<double>(file.bytes);
  }
  // Each rank writes its part first, and the parts are then put together: both are there once.
  return text + "disk      about " + format_bytes(bytes * 1.5) +
         " while it runs (for text of 3 bytes a token), half of that afterwards\n" +
         "memory    about " + format_bytes(2e8) + " a rank\n";
}

void work(const TokenizeConfig& config, StageRun& run) {
  const data::TokenizeSummary summary =
      data::tokenize(config, run.dir, run.comm, at::get_num_threads());
  for (const data::LanguageCounts& counts : summary.languages) {
    // The report and a later budget read these without opening a shard.
    run.manifest.notes["tokens/" + counts.language] = std::to_string(counts.tokens);
    run.manifest.notes["documents/" + counts.language] = std::to_string(counts.documents);
    run.manifest.notes["bytes/" + counts.language] = std::to_string(counts.bytes);
    run.manifest.notes["words/" + counts.language] = std::to_string(counts.words);
    if (run.comm.is_root()) {
      log_info(concat(counts.language, ": ", format_count(static_cast<std::int64_t>(counts.tokens)),
                      " tokens, ", format_count(static_cast<std::int64_t>(counts.documents)),
                      " documents, ",
                      static_cast<double>(counts.bytes) / static_cast<double>(counts.tokens),
                      " bytes a token; left out: ", counts.empty_documents, " empty, ",
                      counts.skipped_documents, " skipped"));
    }
  }
}

}  // namespace

Command tokenize_command() {
  Command out;
  out.name = "tokenize";
  out.doc = "text, JSONL, .gz, .zst, .xz, .bz2 -> token shards (HDF5), on all ranks";
  out.usage = "[LANG=TEXT...] --config FILE --out DIR";
  out.details =
      "TEXT is a file, a pattern or a directory of .txt and .jsonl, also .gz, .zst, .xz and "
      ".bz2.\n";
  set_stage<TokenizeConfig>(out, plan, estimate, work);
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    YamlNode* inputs = config.find("inputs");
    if (paths.empty()) {
      return;
    }
    GM_CHECK(inputs == nullptr, kInvalidArgument,
             "'tokenize': give the text as paths or as 'inputs' in the config, not both");
    YamlNode list;
    list.kind = YamlNode::Kind::kSequence;
    for (const std::string& path : paths) {
      // LANG=PATH names the language.
      const std::size_t equals = path.find('=');
      GM_CHECK(equals != std::string::npos && equals > 0, kInvalidArgument, "'tokenize': '", path,
               "': write LANG=PATH, so that the language is known");
      YamlNode item;
      item.kind = YamlNode::Kind::kMap;
      set_scalar(item, "language", path.substr(0, equals));
      set_scalar(item, "path", path.substr(equals + 1));
      list.items.push_back(std::move(item));
    }
    config.entries.emplace_back("inputs", std::move(list));
  };
  return out;
}

}  // namespace growmerge::launch
