// A tiny model and a stream of made-up rows, for tests of training.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/contracts/batch_source.h"
#include "core/model/checkpoint.h"

namespace growmerge::testing {

/// Rows of tokens that are predictable in part (each token is mostly a function of the one before),
/// in documents of different lengths, from two languages "one" and "two" whose rule differs. A pure
/// function of (seed, row).
class SyntheticSource final : public BatchSource {
 public:
  struct Options {
    std::uint64_t seed = 1;
    std::int64_t rows = -1;
    std::int64_t row_tokens = 12;
    std::int64_t vocab_size = 48;
  };
  explicit SyntheticSource(Options options) : options_(options), names_{"one", "two"} {}

  [[nodiscard]] Batch rows(std::int64_t first, std::int64_t count) override;
  [[nodiscard]] std::int64_t num_rows() const override { return options_.rows; }
  [[nodiscard]] std::int64_t row_tokens() const override { return options_.row_tokens; }
  [[nodiscard]] std::int64_t vocab_size() const override { return options_.vocab_size; }
  [[nodiscard]] const std::vector<std::string>& source_names() const override { return names_; }
  [[nodiscard]] std::string identity() const override {
    return "synthetic-" + std::to_string(options_.seed);
  }
  /// First rows that were asked for, in order (to see what was read).
  std::vector<std::int64_t> asked;

 private:
  Options options_;
  std::vector<std::string> names_;
};

/// Two layers, grouped-query attention, tied head, random weights of a fixed seed.
[[nodiscard]] ModelConfig tiny_config();
[[nodiscard]] Model tiny_model();

}  // namespace growmerge::testing
