// Token sequences to be scored, cut into windows where they exceed the context, each distinct piece
// once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "eval/sequence_scorer.h"

namespace growmerge::eval {

class RequestSet {
 public:
  /// `context` is the most inputs of one forward pass; longer sequences are cut into windows that
  /// begin `stride` inputs one behind the other (see windows.h; 0: half of the context), each later
  /// one opened by `window_prefix` when that is not negative.
  explicit RequestSet(std::int64_t context, std::int32_t window_prefix = -1,
                      std::int64_t stride = 0)
      : context_(context), window_prefix_(window_prefix), stride_(stride) {}

  /// Inputs of a later window that are text: one less where the prefix opens it.
  [[nodiscard]] static std::int64_t room_of(std::int64_t context, bool prefix_each_window) {
    return prefix_each_window ? std::max<std::int64_t>(1, context - 1) : context;
  }
  [[nodiscard]] static std::int64_t stride_of(std::int64_t context, bool prefix_each_window) {
    return std::max<std::int64_t>(1, room_of(context, prefix_each_window) / 2);
  }

  /// Adds a sequence, scored from token `first_scored` (>= 1) on; returns its number of windows.
  std::int64_t add(const std::vector<std::int32_t>& tokens, std::int64_t first_scored);

  [[nodiscard]] const std::vector<ScoreRequest>& requests() const { return requests_; }
  /// The first sequence that needs a request.
  [[nodiscard]] std::int64_t sequence_of(std::int64_t request) const {
    return owners_[static_cast<std::size_t>(request)];
  }
  /// One sum per added sequence, of its windows in order.
  [[nodiscard]] std::vector<double> combine(const std::vector<double>& request_sums) const;

 private:
  void add_request(ScoreRequest request);

  std::int64_t context_;
  std::int32_t window_prefix_;
  std::int64_t stride_;
  std::vector<ScoreRequest> requests_;
  std::vector<std::int64_t> owners_;
  std::vector<std::vector<std::int64_t>> sequences_;  // requests of each
  std::unordered_map<std::string, std::int64_t> known_;
};

}  // namespace growmerge::eval
