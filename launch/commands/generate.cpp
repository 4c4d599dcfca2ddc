// growmerge generate: text sampled from a checkpoint, to look at or as a corpus of its own domain.
#include "eval/generate.h"
#include "core/base/format.h"

#include <cstdio>

#include "core/base/error.h"
#include "core/model/checkpoint.h"
#include "core/model/flops.h"
#include "core/tokenizer/tokenizer.h"
#include "core/transformer/transformer.h"
#include "launch/commands/commands.h"

namespace growmerge::launch {
namespace {

struct GenerateConfig {
  std::string model;
  std::vector<std::string> prompts;
  std::int64_t count = 1;
  eval::SamplingConfig sampling;

  void describe(FieldVisitor& v) {
    v("model", model, "", "checkpoint", v.kInput);
    v("prompts", prompts, "", "texts that are continued; none starts a document");
    v("count", count, "", "samples of each prompt");
    sampling.describe(v);
  }
  void validate() const {
    GM_CHECK(!model.empty(), kInvalidArgument, "generate: no model: growmerge generate MODEL");
    GM_CHECK(count >= 1, kInvalidArgument, "generate: count must be at least 1");
    sampling.validate();
  }
};

StagePlan plan(const GenerateConfig& config) {
  StagePlan out;
  out.stage = "generate";
  out.seed = static_cast<std::uint64_t>(config.sampling.seed);
  out.inputs.push_back({"model", config.model});
  return out;
}

std::string estimate(const GenerateConfig& config, int ranks) {
  const ModelConfig shape = load_model_config(config.model);
  const double tokens = static_cast<double>(config.sampling.max_tokens) *
                        static_cast<double>(config.count) *
                        static_cast<double>(std::max<std::size_t>(1, config.prompts.size()));
  return "costs     at most " + format_flops(tokens * forward_flops_per_token(shape, 128.0)) +
         "\nmemory    about " +
         format_bytes(static_cast<double>(num_parameters(shape)) * 4.0 + kProcessBytes) +
         " a rank\n";
}

/// All samples, in order of prompts. Ranks share them when there is no prompt.
std::vector<eval::Document> samples(const GenerateConfig& config, Communicator& comm) {
  const Model model = load_model(config.model, at::ScalarType::Float);
  const Tokenizer tokenizer = Tokenizer::load(config.model);
  // A few prompts are for looking at; many documents of the model's own are a corpus.
  if (config.prompts.empty()) {
    return eval::sample_documents(model, tokenizer, config.count, config.sampling, comm);
  }
  std::vector<eval::Document> out;
  // Every sample has its own number, and with it its own random numbers, whatever the order.
  std::uint64_t index = 0;
  for (const std::string& prompt : config.prompts) {
    for (std::int64_t i = 0; i < config.count; ++i, ++index) {
      const eval::Sample sample = eval::generate(model, tokenizer, prompt, config.sampling, index);
      out.push_back({concat("sample-", index), sample.text});
    }
  }
  return out;
}

void work(const GenerateConfig& config, StageRun& run) {
  const std::vector<eval::Document> documents = samples(config, run.comm);
  if (run.comm.is_root()) {
    eval::write_documents(run.dir / "samples.jsonl", documents);
  }
  run.manifest.notes["samples"] = std::to_string(documents.size());
}

}  // namespace

Command generate_command() {
  Command out;
  out.name = "generate";
  out.doc = "sample text from a checkpoint (greedy, temperature, top-p)";
  out.usage = "MODEL [PROMPT...] [--out DIR]";
  out.details =
      "Prints the samples; with --out also writes DIR/samples.jsonl ({\"id\", \"text\"} a line),\n"
      "which `tokenize` and bits-per-byte tasks read.\n";
  set_stage<GenerateConfig>(out, plan, estimate, work);
  out.prints_without_out = [](const YamlNode& node, Communicator& comm) {
    const auto config = load_stage_config<GenerateConfig>(node);
    const std::vector<eval::Document> documents = samples(config, comm);
    for (const eval::Document& document : documents) {
      if (comm.is_root()) {
        std::printf("%s%s\n", documents.size() > 1 ? ("== " + document.id + "\n").c_str() : "",
                    document.text.c_str());
      }
    }
  };
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    if (!paths.empty()) {
      set_scalar(config, "model", paths.front());
    }
    if (paths.size() > 1) {
      YamlNode list;
      list.kind = YamlNode::Kind::kSequence;
      for (std::size_t i = 1; i < paths.size(); ++i) {
        YamlNode item;
        item.kind = YamlNode::Kind::kScalar;
        item.scalar = paths[i];
        // A prompt such as "12" is text.
        item.quoted = true;
        list.items.push_back(std::move(item));
      }
      std::erase_if(config.entries, [](const auto& entry) { return entry.first == "prompts"; });
      config.entries.emplace_back("prompts", std::move(list));
    }
  };
  return out;
}

}  // namespace growmerge::launch
