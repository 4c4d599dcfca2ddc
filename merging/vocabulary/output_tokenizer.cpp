#include "merging/vocabulary/output_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/base/error.h"
#include "merging/vocabulary/token_table.h"

namespace growmerge::merging {
namespace {

using Json = nlohmann::ordered_json;

Json parse(const std::string& text, const std::string& name) {
  Json out = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  GM_CHECK(out.is_object() && out.contains("model"), kCorrupt, "'", name, "' is no tokenizer.json");
  if (!out.contains("added_tokens") || !out["added_tokens"].is_array()) {
    out["added_tokens"] = Json::array();
  }
  return out;
}

/// The two halves of a merge, which older files write as one string.
std::optional<std::pair<std::string, std::string>> halves_of(const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const auto text = merge.get<std::string>();
    const std::size_t space = text.find(' ');
    if (space != std::string::npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return std::nullopt;
}

bool is_bpe(const Json& json) {
  const Json& model = json["model"];
  const Json type = model.value("type", Json());  // older files have none
  return (type.is_null() || type == "BPE") && model.contains("merges") &&
         model["merges"].is_array() && model["vocab"].is_object();
}

/// Whether text comes to both models in the same pieces.
bool same_pipeline(const Json& a, const Json& b) {
  const auto same = [](const Json& x, const Json& y, const char* key) {
    return x.value(key, Json()) == y.value(key, Json());
  };
  return is_bpe(a) && is_bpe(b) && same(a, b, "normalizer") && same(a, b, "pre_tokenizer") &&
         same(a["model"], b["model"], "byte_fallback") &&
         same(a["model"], b["model"], "continuing_subword_prefix") &&
         same(a["model"], b["model"], "end_of_word_suffix");
}

Json added_token(const std::string& content, std::int64_t id) {
  return {{"id", id},        {"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", true}, {"special", false}};
}

/// The union while it grows.
struct Union {
  Json json;
  TokenTable table;  // of what it started with
  std::set<std::string> added;
  std::int64_t next_id = 0;
  bool holds_added = false;  // model.vocab has the added tokens, too

  /// `tokenizers` numbers added tokens from the size of the model's vocabulary on, unless it finds
  /// them there: once that grows, they must stand in it.
  void hold_added_tokens() {
    if (!holds_added) {
      for (const Json& token : json["added_tokens"]) {
        json["model"]["vocab"][token["content"].get<std::string>()] = token["id"];
      }
      holds_added = true;
    }
  }
  bool has(const std::string& token) const {
    return table.find(token).has_value() || added.count(token) != 0;
  }
  void add_plain(const std::string& token, bool in_vocabulary) {
    if (in_vocabulary) {
      hold_added_tokens();
      json["model"]["vocab"][token] = next_id;
    } else {
      json["added_tokens"].push_back(added_token(token, next_id));
    }
    added.insert(token);
    ++next_id;
  }
  void add_special(Json token) {
    token["id"] = next_id++;
    added.insert(token["content"].get<std::string>());
    if (holds_added) {
      json["model"]["vocab"][token["content"].get<std::string>()] = token["id"];
    }
    json["added_tokens"].push_back(std::move(token));
  }
  /// The merges of `other` that make one of its `tokens`.
  void add_merges(const Json& other, const std::set<std::string>& tokens) {
    Json& merges = json["model"]["merges"];
    const bool as_list = merges.empty() || merges.front().is_array();
    for (const Json& merge : other["model"]["merges"]) {
      const auto halves = halves_of(merge);
      if (halves && tokens.count(halves->first + halves->second) != 0 && has(halves->first) &&
          has(halves->second)) {
        merges.push_back(as_list ? Json{halves->first, halves->second}
                                 : Json(halves->first + " " + halves->second));
      }
    }
  }
};

}  // namespace

std::string stripped_tokenizer(const TokenizerText& tokenizer) {
  const TokenTable table = parse_token_table(tokenizer.json, tokenizer.name);
  std::set<std::string> unused;
  for (const auto& [id, token] : table.by_id) {
    if (id >= tokenizer.rows) {
      unused.insert(token);
    }
  }
  if (unused.empty()) {
    return tokenizer.json;
  }
  Json json = parse(tokenizer.json, tokenizer.name);
  GM_CHECK(is_bpe(json), kUnsupported, "'", tokenizer.name, "' has ", unused.size(),
           " tokens without a row in the model, as '", *unused.begin(),
           "': only a BPE tokenizer can be cut to the model's rows");
  std::erase_if(json["added_tokens"].get_ref<Json::array_t&>(), [&](const Json& token) {
    return unused.count(token["content"].get<std::string>()) != 0;
  });
  Json vocab = Json::object();
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    if (unused.count(token) == 0) {
      vocab[token] = id;
    }
  }
  json["model"]["vocab"] = std::move(vocab);
  std::erase_if(json["model"]["merges"].get_ref<Json::array_t&>(), [&](const Json& merge) {
    const auto halves = halves_of(merge);
    return halves && (unused.count(halves->first) != 0 || unused.count(halves->second) != 0 ||
                      unused.count(halves->first + halves->second) != 0);
  });
  return json.dump(2);
}

std::string union_tokenizer(const std::vector<TokenizerText>& tokenizers) {
  Union out;
  const std::string base = stripped_tokenizer(tokenizers.front());
  out.json = parse(base, tokenizers.front().name);
  out.table = parse_token_table(base, tokenizers.front().name);
  out.next_id = out.table.size();
  std::vector<Json> others;
  for (std::size_t i = 1; i < tokenizers.size(); ++i) {
    const TokenizerText& text = tokenizers[i];
    others.push_back(parse(text.json, text.name));
    const TokenTable table = parse_token_table(text.json, text.name);
    const bool in_vocabulary = same_pipeline(out.json, others.back());
    std::set<std::string> fresh;
    for (const auto& [id, token] : table.by_id) {
      if (id < text.rows && !table.is_added.contains(token) && !out.has(token)) {
        out.add_plain(token, in_vocabulary);
        fresh.insert(token);
      }
    }
    if (in_vocabulary && !fresh.empty()) {
      out.add_merges(others.back(), fresh);
    }
  }
  for (std::size_t i = 0; i < others.size(); ++i) {
    for (const Json& token : others[i]["added_tokens"]) {
      if (token["id"].get<std::int64_t>() < tokenizers[i + 1].rows &&
          !out.has(token["content"].get<std::string>())) {
        out.add_special(token);
      }
    }
  }
  return out.added.empty() ? base : out.json.dump(2);
}

std::string with_tokens(const std::string& tokenizer_json, const std::vector<std::string>& tokens,
                        const std::string& name) {
  const TokenTable table = parse_token_table(tokenizer_json, name);
  Json json = parse(tokenizer_json, name);
  std::int64_t next_id = table.size();
  bool has_changed = false;
  for (const std::string& token : tokens) {
    if (!table.find(token)) {
      json["added_tokens"].push_back(added_token(token, next_id++));
      has_changed = true;
    }
  }
  return has_changed ? json.dump(2) : tokenizer_json;
}

}  // namespace growmerge::merging
