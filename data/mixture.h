// What a training stream is mixed from.
//
// Shares: where no source has `epochs`, weights are normalised and the stream never ends (each
// source starts its next epoch when one is used up). Where a source has `epochs`, weights are
// shares of the whole stream (their sum below 1; replay of English is `weight: 0.2`), sources with
// `epochs` divide the rest in proportion to epochs * tokens, and the stream ends when these epochs
// are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace growmerge::data {

/// Names one token shard.
struct ShardSource {
  std::string path;
  std::string language;
  std::string name;

  template <class V>
  void describe(V& v) {
    v("path", path, "", "a token shard, or the directory of a tokenize stage", v.kInput);
    v("language", language, "", "which shard of the directory; not needed when it holds one");
    v("name", name, "", "what the source is called in metrics; default: the shard's language");
  }
};

struct MixtureSource : ShardSource {
  std::optional<double> weight;
  std::optional<double> epochs;

  template <class V>
  void describe(V& v) {
    ShardSource::describe(v);
    v("weight", weight, "", "share of the rows; exactly one of weight and epochs is given");
    v("epochs", epochs, "epochs", "how often the source is read before the stream ends");
  }
};

struct MixtureConfig {
  std::vector<MixtureSource> sources;
  std::int64_t seed = 0;
  std::int64_t row_tokens = 256;
  bool cross_document = false;

  template <class V>
  void describe(V& v) {
    v("sources", sources, "", "what is mixed");
    v("seed", seed, "", "of the order of documents; the same seed gives the same stream");
    v("row_tokens", row_tokens, "tokens", "length of a row (sequence)");
    v("cross_document", cross_document, "",
      "attention and targets run over document boundaries, as in the paper; otherwise each "
      "document is on its own");
  }
  /// Errors: kInvalidArgument naming the source.
  void validate() const;
};

/// What the shards must fit. Zero or empty fields are not checked.
struct ModelFit {
  std::int64_t vocab_size = 0;  // of the model: no shard may have more
  std::string tokenizer_hash;   // of the model's tokenizer.json
};

/// The shard file that (path, language) names. Errors: kNotFound naming the languages that are
/// there; kInvalidArgument when a directory holds several and none is named.
[[nodiscard]] std::filesystem::path find_shard(const std::filesystem::path& path,
                                               const std::string& language);

/// Languages of the shards in a tokenize stage's directory, sorted.
[[nodiscard]] std::vector<std::string> shard_languages(const std::filesystem::path& dir);

}  // namespace growmerge::data
