// Which token has which id, of any tokenizer.json: also of those that core/tokenizer cannot run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>

namespace growmerge::merging {

struct TokenTable {
  std::map<std::int64_t, std::string> by_id;
  std::unordered_map<std::string, std::int64_t> by_token;
  std::unordered_map<std::string, bool> is_added;  // added tokens alone

  [[nodiscard]] std::optional<std::int64_t> find(const std::string& token) const;
  /// Largest id + 1.
  [[nodiscard]] std::int64_t size() const;
};

/// Errors: kCorrupt naming `name` where there is no vocabulary to read.
[[nodiscard]] TokenTable parse_token_table(const std::string& tokenizer_json,
                                           const std::string& name);
/// Of DIR/tokenizer.json; nothing where there is none.
[[nodiscard]] std::optional<TokenTable> read_token_table(const std::filesystem::path& dir);

/// A token that two tables place differently below `rows`, in words; empty where there is none:
/// then rows may be compared by number.
[[nodiscard]] std::string first_conflict(const TokenTable& a, const TokenTable& b,
                                         std::int64_t rows);

}  // namespace growmerge::merging
