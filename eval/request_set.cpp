#include "eval/request_set.h"

#include <algorithm>
#include <utility>

#include "eval/windows.h"

namespace growmerge::eval {

std::int64_t RequestSet::add(const std::vector<std::int32_t>& tokens, std::int64_t first_scored) {
  sequences_.emplace_back();
  const auto length = static_cast<std::int64_t>(tokens.size());
  // The last token is predicted, never fed.
  if (length - 1 <= context_) {
    add_request({tokens, first_scored});
    return 1;
  }
  // Windows are cut in inputs of text; the prefix takes the place of one.
  const std::int64_t room = room_of(context_, window_prefix_ >= 0);
  const std::int64_t stride = stride_ > 0 ? stride_ : stride_of(context_, window_prefix_ >= 0);
  std::vector<Window> windows = make_windows(length, first_scored, room, stride);
  if (stride == room) {
    // Windows that share nothing are the harness's, whose last one looks back as far as it can.
    windows.back().begin = windows.back().end - room;
  }
  for (const Window& window : windows) {
    ScoreRequest request;
    if (window.begin > 0 && window_prefix_ >= 0) {
      request.tokens.push_back(window_prefix_);
    }
    request.first_scored =
        window.first_scored - window.begin + static_cast<std::int64_t>(request.tokens.size());
    request.tokens.insert(request.tokens.end(), tokens.begin() + window.begin,
                          tokens.begin() + window.end + 1);
    add_request(std::move(request));
  }
  return static_cast<std::int64_t>(windows.size());
}

void RequestSet::add_request(ScoreRequest request) {
  // Equal tokens scored from the same place on are one request, whoever asks.
  std::string key(reinterpret_cast<const char*>(request.tokens.data()),
                  request.tokens.size() * sizeof(std::int32_t));
  key += std::to_string(request.first_scored);
  const auto [found, is_new] =
      known_.try_emplace(std::move(key), static_cast<std::int64_t>(requests_.size()));
  if (is_new) {
    requests_.push_back(std::move(request));
    owners_.push_back(static_cast<std::int64_t>(sequences_.size()) - 1);
  }
  sequences_.back().push_back(found->second);
}

std::vector<double> RequestSet::combine(const std::vector<double>& request_sums) const {
  std::vector<double> sums;
  sums.reserve(sequences_.size());
  for (const auto& sequence : sequences_) {
    double sum = 0.0;
    for (const std::int64_t request : sequence) {
      sum += request_sums[static_cast<std::size_t>(request)];
    }
    sums.push_back(sum);
  }
  return sums;
}

}  // namespace growmerge::eval
