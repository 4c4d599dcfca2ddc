#include "eval/generate.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/random.h"
#include "core/transformer/transformer.h"
#include "eval/scoring_rules.h"

namespace growmerge::eval {

void SamplingConfig::validate() const {
  GM_CHECK(temperature >= 0.0 && std::isfinite(temperature), kInvalidArgument, "temperature is ",
           temperature, ", expected 0 (greedy) or more");
  GM_CHECK(top_p > 0.0 && top_p <= 1.0, kInvalidArgument, "top_p is ", top_p,
           ", expected a number in (0, 1]");
  GM_CHECK(max_tokens >= 1, kInvalidArgument, "max_tokens is ", max_tokens,
           ", expected at least 1");
}

std::int32_t draw_token(std::span<const float> logits, double temperature, double top_p,
                        double uniform) {
  GM_CHECK(std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }),
           kCorrupt, "sampling: a logit is NaN or infinite; the model's weights are broken");
  // The first of equals, as argmax elsewhere.
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature == 0.0) {
    return static_cast<std::int32_t>(best - logits.begin());
  }
  std::vector<double> weights(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // Relative to the largest, so that none overflows.
    weights[i] = std::exp((static_cast<double>(logits[i]) - *best) / temperature);
  }
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (top_p < 1.0) {
    // Stable: equal weights keep the vocabulary's order, and a draw its token.
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return weights[static_cast<std::size_t>(a)] > weights[static_cast<std::size_t>(b)];
    });
    double kept = 0.0;
    std::size_t size = 0;
    while (size < order.size() && kept < top_p * total) {
      kept += weights[static_cast<std::size_t>(order[size++])];
    }
    order.resize(size);
    total = kept;
  }
  double left = uniform * total;
  for (const std::int32_t token : order) {
    left -= weights[static_cast<std::size_t>(token)];
    if (left < 0.0) {
      return token;
    }
  }
  return order.back();  // rounding of the last sum
}

Sample generate(const Model& model, const Tokenizer& tokenizer, const std::string& prompt,
                const SamplingConfig& config, std::uint64_t sample_index) {
  config.validate();
  GM_CHECK(tokenizer.vocab_size() <= model.config.vocab_size, kMismatch,
           "sampling: the tokenizer holds ", tokenizer.vocab_size(),
           " tokens, the model's vocabulary ", model.config.vocab_size,
           "; take the tokenizer that the model was trained with");
  std::vector<std::int32_t> tokens;
  const auto prefix = prefix_token(model.config, config.prefix);
  if (prefix) {
    tokens.push_back(*prefix);
  }
  const std::vector<std::int32_t> ids = tokenizer.encode(prompt, false);
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  GM_CHECK(!tokens.empty(), kInvalidArgument,
           "sampling: with prefix 'none' the prompt must not be empty");
  const std::int64_t context = model.config.max_position_embeddings;
  const auto prompt_tokens = static_cast<std::int64_t>(tokens.size());
  GM_CHECK(prompt_tokens < context, kInvalidArgument, "sampling: the prompt has ", prompt_tokens,
           " tokens, the model's context is ", context);
  const Philox random(static_cast<std::uint64_t>(config.seed),
                      stream_id("eval/generate/" + std::to_string(sample_index)));
  // Positions beyond the context were never trained.
  const std::int64_t most = std::min(config.max_tokens, context - prompt_tokens);
  Decoder decoder(model.config, model.params, prompt_tokens + most);
  Sample sample;
  at::Tensor logits = decoder.feed(tokens);
  for (std::int64_t t = 0; t < most; ++t) {
    const at::Tensor host = logits.to(at::kCPU, at::kFloat).contiguous();
    const std::int32_t token =
        draw_token({host.data_ptr<float>(), static_cast<std::size_t>(host.numel())},
                   config.temperature, config.top_p, random.uniform(static_cast<std::uint64_t>(t)));
    const auto& eos = model.config.eos_token_ids;
    if (std::find(eos.begin(), eos.end(), token) != eos.end() ||
        token == model.config.bos_token_id) {
      sample.ended = true;
      break;
    }
    sample.tokens.push_back(token);
    // The last token needs no logits behind it.
    if (t + 1 < most) {
      logits = decoder.feed({&token, 1});
    }
  }
  std::vector<std::int32_t> shown = ids;
  shown.insert(shown.end(), sample.tokens.begin(), sample.tokens.end());
  sample.text = tokenizer.decode(shown, true);
  return sample;
}

std::vector<Document> sample_documents(const Model& model, const Tokenizer& tokenizer,
                                       std::int64_t count, const SamplingConfig& config,
                                       Communicator& comm) {
  GM_CHECK(count >= 1, kInvalidArgument, "sampling: ", count, " documents, expected at least 1");
  nlohmann::json mine = nlohmann::json::array();
  run_agreed(comm, [&] {
    for (std::int64_t i = comm.rank(); i < count; i += comm.size()) {
      mine.push_back(generate(model, tokenizer, "", config, static_cast<std::uint64_t>(i)).text);
    }
  });
  std::vector<Document> documents(static_cast<std::size_t>(count));
  // Sampled bytes may break off inside a character: what is not UTF-8 becomes U+FFFD.
  const auto parts =
      comm.all_gather_bytes(mine.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    const nlohmann::json texts = nlohmann::json::parse(parts[rank]);
    for (std::size_t k = 0; k < texts.size(); ++k) {
      // Rank r drew samples r, r + R, ...
      const std::size_t i = rank + k * parts.size();
      documents[i] = {"sample-" + std::to_string(i), texts[k].get<std::string>()};
    }
  }
  return documents;
}

void write_documents(const std::filesystem::path& path, const std::vector<Document>& documents) {
  std::string text;
  for (const Document& document : documents) {
    text += nlohmann::ordered_json{{"id", document.id}, {"text", document.text}}.dump() + "\n";
  }
  write_file_atomically(path, text);
}

}  // namespace growmerge::eval
