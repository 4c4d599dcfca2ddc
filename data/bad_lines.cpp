#include "data/bad_lines.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

struct Limit {
  double share = 0.0;  // of all documents
  std::uint64_t count = 0;
};

Limit parse_limit(const std::string& text) {
  const bool is_share = text.ends_with('%');
  const std::string_view number =
      std::string_view(text).substr(0, text.size() - (is_share ? 1 : 0));
  const char* end = number.data() + number.size();
  Limit limit;
  const auto [at, error] = is_share ? std::from_chars(number.data(), end, limit.share)
                                    : std::from_chars(number.data(), end, limit.count);
  GM_CHECK(error == std::errc() && at == end && !number.empty() && limit.share >= 0.0 &&
               limit.share <= 100.0,
           kInvalidArgument, "bad_lines.limit is '", text,
           "', expected a share of the documents such as 0.1%, or a number of them");
  limit.share /= 100.0;
  return limit;
}

}  // namespace

void BadLinesConfig::validate() const {
  GM_CHECK(policy == "stop" || policy == "skip", kInvalidArgument, "bad_lines.policy is '", policy,
           "', expected stop or skip");
  (void)parse_limit(limit);
  GM_CHECK(skips() || limit == BadLinesConfig().limit, kInvalidArgument,
           "bad_lines.limit is for policy: skip, and the policy is ", policy);
}

std::uint64_t BadLinesConfig::most_of(std::uint64_t documents) const {
  const Limit parsed = parse_limit(limit);
  // 10 % of 30 documents are 3, though 0.1 * 30 may fall short of it.
  const double share = parsed.share * static_cast<double>(documents);
  return std::max(parsed.count, static_cast<std::uint64_t>(std::floor(share * (1.0 + 1e-12))));
}

std::string to_json_lines(const std::vector<BadLine>& lines) {
  std::string text;
  for (const BadLine& line : lines) {
    const nlohmann::ordered_json entry = {
        {"file", line.file}, {"line", line.line}, {"reason", line.reason}};
    // A file's name may be any bytes, and a reason may quote the line.
    text += entry.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  return text;
}

std::string describe_bad_lines(std::uint64_t bad, std::uint64_t documents,
                               const std::vector<BadLine>& lines) {
  constexpr std::size_t kShown = 3;
  std::string text = concat(bad, " of ", documents, " documents cannot be read");
  for (std::size_t i = 0; i < std::min(kShown, lines.size()); ++i) {
    text += (i == 0 ? ": " : "; ") + lines[i].reason;
  }
  return text + (bad > kShown ? "; ..." : "");
}

}  // namespace growmerge::data
