// Fixed rows of held-out text, for the loss during training: sources in the order given, each one's
// documents in file order, cut every row_tokens tokens; a source's last row is filled up with EOS
// that has no target. Nothing is shuffled and nothing repeats, so every token is scored once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/contracts/batch_source.h"
#include "data/mixture.h"
#include "data/token_shard.h"

namespace growmerge::data {

struct HeldOutConfig {
  std::vector<ShardSource> sources;
  std::int64_t row_tokens = 0;
  std::int64_t max_rows = 0;
  std::optional<bool> cross_document;

  template <class V>
  void describe(V& v) {
    v("sources", sources, "", "held-out shards");
    v("row_tokens", row_tokens, "tokens", "length of a row (sequence); 0: the mixture's");
    v("max_rows", max_rows, "rows", "at most so many rows of each source; 0 takes all");
    v("cross_document", cross_document, "", "as in the mixture, which is the default");
  }
};

class HeldOutStream final : public BatchSource {
 public:
  /// Errors: as TokenStream::open().
  [[nodiscard]] static std::unique_ptr<HeldOutStream> open(const HeldOutConfig& config,
                                                           const ModelFit& fit);

  [[nodiscard]] Batch rows(std::int64_t first, std::int64_t count) override;
  [[nodiscard]] std::int64_t num_rows() const override { return first_rows_.back(); }
  [[nodiscard]] std::int64_t row_tokens() const override { return config_.row_tokens; }
  [[nodiscard]] std::int64_t vocab_size() const override { return vocab_size_; }
  [[nodiscard]] const std::vector<std::string>& source_names() const override { return names_; }
  [[nodiscard]] std::string identity() const override { return identity_; }

 private:
  [[nodiscard]] bool cross_document() const { return config_.cross_document.value_or(false); }
  HeldOutStream(const HeldOutConfig& config, const ModelFit& fit);

  HeldOutConfig config_;
  std::vector<TokenShard> shards_;
  std::vector<std::int32_t> shard_names_;  // [shards] index into names_
  std::vector<std::int64_t> first_rows_;   // [shards + 1]
  std::vector<std::string> names_;
  std::int64_t vocab_size_ = 0;
  std::string identity_;
};

}  // namespace growmerge::data
