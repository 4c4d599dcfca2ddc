// growmerge artificial: text, pairs and known entropy of a family of artificial languages.
#include "data/artificial.h"

#include "core/base/error.h"
#include "launch/commands/commands.h"

namespace growmerge::launch {
namespace {

using data::ArtificialConfig;

StagePlan plan(const ArtificialConfig& config) {
  StagePlan out;
  out.stage = "artificial";
  out.seed = static_cast<std::uint64_t>(config.seed);
  out.max_ranks = 1;
  return out;
}

std::string estimate(const ArtificialConfig& config, int ranks) {
  std::string text;
  for (const data::LanguageConfig& language : config.languages) {
    text += "writes    " + language.name + "/train.jsonl, held_out.jsonl, pairs.jsonl\n";
  }
  return text;
}

void work(const ArtificialConfig& config, StageRun& run) {
  data::write_artificial(config, run.dir);
}

}  // namespace

Command artificial_command() {
  Command out;
  out.name = "artificial";
  out.doc = "text and minimal pairs of a seeded family of artificial languages";
  out.usage = "[--config FILE] --out DIR";
  out.details = "For trying everything without any text: see docs/methods/data.md.\n";
  set_stage<ArtificialConfig>(out, plan, estimate, work);
  return out;
}

}  // namespace growmerge::launch
