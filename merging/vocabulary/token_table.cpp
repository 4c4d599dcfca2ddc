#include "merging/vocabulary/token_table.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/json_text.h"
#include "core/tokenizer/json_fields.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

void add(TokenTable& table, const std::string& token, std::int64_t id, const std::string& name) {
  const auto [it, is_new] = table.by_id.emplace(id, token);
  GM_CHECK(is_new || it->second == token, kCorrupt, "'", name, "': tokens '", it->second, "' and '",
           token, "' both have id ", id);
  table.by_token.emplace(token, id);
}

}  // namespace

std::optional<std::int64_t> TokenTable::find(const std::string& token) const {
  const auto it = by_token.find(token);
  return it == by_token.end() ? std::nullopt : std::optional(it->second);
}

std::int64_t TokenTable::size() const { return by_id.empty() ? 0 : by_id.rbegin()->first + 1; }

TokenTable parse_token_table(const std::string& tokenizer_json, const std::string& name) {
  const Json json = Json::parse(tokenizer_json, nullptr, /*allow_exceptions=*/false);
  GM_CHECK(json.is_object() && json.contains("model") && json["model"].is_object() &&
               json["model"].contains("vocab"),
           kCorrupt, "'", name, "' is no tokenizer.json with a model.vocab");
  TokenTable out;
  const Json& vocab = json["model"]["vocab"];
  if (vocab.is_object()) {
    for (const auto& [token, id] : vocab.items()) {
      add(out, token, tok::id_value(id, concat("'", name, "': token '", token, "'")), name);
    }
  } else if (vocab.is_array()) {  // Unigram: a piece's place is its id
    std::int64_t id = 0;
    for (const Json& piece : vocab) {
      GM_CHECK(piece.is_array() && !piece.empty() && piece[0].is_string(), kCorrupt, "'", name,
               "': model.vocab holds something that is no [piece, score]");
      add(out, piece[0].get<std::string>(), id++, name);
    }
  }
  if (json.contains("added_tokens") && json["added_tokens"].is_array()) {
    for (const Json& token : json["added_tokens"]) {
      const std::string what = "'" + name + "': an added token";
      tok::require_object(token, what);
      const std::string content = tok::string_field(token, "content", what);
      add(out, content, tok::id_value(tok::require_field(token, "id", what), what), name);
      out.is_added[content] = true;
    }
  }
  return out;
}

std::optional<TokenTable> read_token_table(const fs::path& dir) {
  const fs::path file = fs::is_directory(dir) ? dir / "tokenizer.json" : dir;
  if (!fs::exists(file)) {
    return std::nullopt;
  }
  return parse_token_table(read_json_text(file), file.string());
}

std::string first_conflict(const TokenTable& a, const TokenTable& b, std::int64_t rows) {
  for (const auto& [id, token] : a.by_id) {
    if (id >= rows) {
      break;
    }
    const auto other = b.by_id.find(id);
    if (other != b.by_id.end() && other->second != token) {
      return concat("id ", id, " is '", token, "' in the one, '", other->second, "' in the other");
    }
    const std::optional<std::int64_t> place = b.find(token);
    if (place && *place != id) {
      return concat("token '", token, "' has id ", id, " in the one, ", *place, " in the other");
    }
  }
  return "";
}

}  // namespace growmerge::merging
