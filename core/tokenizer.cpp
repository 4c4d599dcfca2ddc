#include "core/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <queue>
#include <unordered_map>

#include "core/error.h"
#include "core/manifest.h"

namespace growmerge {
namespace {

using Json = nlohmann::json;

constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool rstrip = false;
  bool special = false;
};

struct Regex {
  explicit Regex(const std::string& pattern) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    re = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                       PCRE2_UTF | PCRE2_UCP, &code, &offset, nullptr);
    GM_CHECK(re != nullptr, kUnsupported, "pre-tokenizer pattern '", pattern,
             "' does not compile at ", offset);
    pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
  }
  ~Regex() { pcre2_code_free(re); }
  Regex(const Regex&) = delete;
  pcre2_code* re = nullptr;
};

std::size_t utf8_length(unsigned char first) {
  return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

std::string utf8(std::uint32_t c) {
  std::string out;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 63));
  }
  return out;
}

}  // namespace

struct Tokenizer::Impl {
  std::string hash;
  std::unordered_map<std::string, std::int32_t> vocab;
  std::vector<std::string> tokens;
  std::unordered_map<std::uint64_t, std::pair<std::int32_t, std::int32_t>>
      merges;  // pair -> (rank, id)
  std::vector<AddedToken> added;
  std::vector<bool> is_special;
  bool byte_level = false;
  bool byte_fallback = false;
  bool digits = false;
  std::unique_ptr<Regex> regex;
  std::vector<std::int32_t> prefix;
  std::array<std::string, 256> byte_to_text;
  std::unordered_map<std::string, char> text_to_byte;
  std::array<std::int32_t, 256> byte_ids{};

  void bpe(std::vector<std::int32_t> ids, std::vector<std::int32_t>& out) const;
  void encode_word(std::string_view word, std::vector<std::int32_t>& out) const;
  void encode_piece(std::string_view text, std::vector<std::int32_t>& out) const;
};

void Tokenizer::Impl::bpe(std::vector<std::int32_t> ids, std::vector<std::int32_t>& out) const {
  struct Candidate {
    std::int32_t rank;
    std::int32_t left;
    std::int32_t id;
    std::int32_t left_id;
    std::int32_t right_id;
    bool operator<(const Candidate& o) const {
      return rank != o.rank ? rank > o.rank : left > o.left;
    }
  };
  const auto n = static_cast<std::int32_t>(ids.size());
  std::vector<std::int32_t> next(ids.size());
  std::vector<std::int32_t> previous(ids.size());
  for (std::int32_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
  }
  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::int32_t left) {
    if (left < 0 || next[left] >= n) {
      return;
    }
    const std::int32_t right = next[left];
    const auto it = merges.find((static_cast<std::uint64_t>(ids[left]) << 32) |
                                static_cast<std::uint32_t>(ids[right]));
    if (it != merges.end()) {
      queue.push({it->second.first, left, it->second.second, ids[left], ids[right]});
    }
  };
  for (std::int32_t i = 0; i < n; ++i) {
    consider(i);
  }
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    const std::int32_t right = ids[c.left] < 0 ? n : next[c.left];
    if (right >= n || ids[c.left] != c.left_id || ids[right] != c.right_id) {
      continue;
    }
    ids[c.left] = c.id;
    ids[right] = -1;
    next[c.left] = next[right];
    if (next[right] < n) {
      previous[next[right]] = c.left;
    }
    consider(previous[c.left]);
    consider(c.left);
  }
  for (const std::int32_t id : ids) {
    if (id >= 0) {
      out.push_back(id);
    }
  }
}

void Tokenizer::Impl::encode_word(std::string_view word, std::vector<std::int32_t>& out) const {
  std::vector<std::int32_t> ids;
  if (byte_level) {
    for (const char c : word) {
      ids.push_back(byte_ids[static_cast<unsigned char>(c)]);
    }
  } else {
    for (std::size_t i = 0; i < word.size();) {
      const std::size_t length = utf8_length(static_cast<unsigned char>(word[i]));
      const auto it = vocab.find(std::string(word.substr(i, length)));
      if (it != vocab.end()) {
        ids.push_back(it->second);
      } else {
        for (std::size_t b = 0; b < length; ++b) {
          ids.push_back(byte_ids[static_cast<unsigned char>(word[i + b])]);
        }
      }
      i += length;
    }
  }
  bpe(std::move(ids), out);
}

void Tokenizer::Impl::encode_piece(std::string_view text, std::vector<std::int32_t>& out) const {
  if (text.empty()) {
    return;
  }
  if (!byte_level) {
    std::string normalized = "\u2581";
    for (const char c : text) {
      if (c == ' ') {
        normalized += "\u2581";
      } else {
        normalized += c;
      }
    }
    encode_word(normalized, out);
    return;
  }
  std::vector<std::string_view> parts;
  if (digits) {
    std::size_t begin = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] >= '0' && text[i] <= '9') {
        if (i > begin) {
          parts.push_back(text.substr(begin, i - begin));
        }
        parts.push_back(text.substr(i, 1));
        begin = i + 1;
      }
    }
    if (begin < text.size()) {
      parts.push_back(text.substr(begin));
    }
  } else {
    parts.push_back(text);
  }
  pcre2_match_data* match = pcre2_match_data_create(8, nullptr);
  for (const std::string_view part : parts) {
    for (std::size_t at = 0; at < part.size();) {
      const int found = pcre2_match(regex->re, reinterpret_cast<PCRE2_SPTR>(part.data()),
                                    part.size(), at, PCRE2_NO_UTF_CHECK, match, nullptr);
      GM_ASSERT(found > 0);
      const PCRE2_SIZE* span = pcre2_get_ovector_pointer(match);
      encode_word(part.substr(span[0], span[1] - span[0]), out);
      at = span[1];
    }
  }
  pcre2_match_data_free(match);
}

Tokenizer::Tokenizer() : impl_(std::make_unique<Impl>()) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "tokenizer.json" : path;
  return parse(read_file(file), file.string());
}

Tokenizer Tokenizer::parse(const std::string& json_text, const std::string& name) {
  Tokenizer out;
  Impl& t = *out.impl_;
  t.hash = hash_bytes(json_text.data(), json_text.size());
  const Json root = Json::parse(json_text);
  const Json& model = root.at("model");
  for (const auto& [token, id] : model.at("vocab").items()) {
    t.vocab[token] = id.get<std::int32_t>();
  }
  for (const Json& token : root.at("added_tokens")) {
    t.added.push_back(
        {token.at("content"), token.at("id"), token.at("rstrip"), token.at("special")});
    t.vocab[t.added.back().content] = t.added.back().id;
  }
  for (const auto& [token, id] : t.vocab) {
    if (static_cast<std::size_t>(id) >= t.tokens.size()) {
      t.tokens.resize(static_cast<std::size_t>(id) + 1);
    }
    t.tokens[static_cast<std::size_t>(id)] = token;
  }
  t.is_special.resize(t.tokens.size());
  for (const AddedToken& token : t.added) {
    t.is_special[static_cast<std::size_t>(token.id)] = token.special;
  }
  t.byte_fallback = model.value("byte_fallback", false);
  t.byte_level = !t.byte_fallback;
  std::int32_t rank = 0;
  for (const Json& merge : model.at("merges")) {
    std::string left;
    std::string right;
    if (merge.is_string()) {
      const std::string both = merge;
      left = both.substr(0, both.find(' '));
      right = both.substr(both.find(' ') + 1);
    } else {
      left = merge[0];
      right = merge[1];
    }
    const auto key = (static_cast<std::uint64_t>(t.vocab.at(left)) << 32) |
                     static_cast<std::uint32_t>(t.vocab.at(right));
    t.merges.emplace(key, std::make_pair(rank++, t.vocab.at(left + right)));
  }
  std::uint32_t extra = 256;
  for (std::uint32_t b = 0; b < 256; ++b) {
    const bool visible = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    t.byte_to_text[b] = utf8(visible ? b : extra++);
    t.text_to_byte[t.byte_to_text[b]] = static_cast<char>(b);
    char hex[8];
    std::snprintf(hex, sizeof(hex), "<0x%02X>", b);
    const auto byte = t.vocab.find(t.byte_level ? t.byte_to_text[b] : std::string(hex));
    t.byte_ids[b] = byte == t.vocab.end() ? 0 : byte->second;
  }
  if (t.byte_level) {
    std::string pattern = kGpt2Pattern;
    const std::string pre = root.at("pre_tokenizer").dump();
    t.digits = pre.find("Digits") != std::string::npos;
    if (pre.find("Split") != std::string::npos) {
      pattern = root["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
    }
    t.regex = std::make_unique<Regex>(pattern);
  }
  if (root.contains("post_processor") && root["post_processor"].is_object() &&
      root["post_processor"]["type"] == "TemplateProcessing") {
    for (const Json& item : root["post_processor"]["single"]) {
      if (item.contains("SpecialToken")) {
        t.prefix.push_back(t.vocab.at(item["SpecialToken"]["id"].get<std::string>()));
      }
    }
  }
  return out;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<std::int32_t> out;
  if (add_special) {
    out = impl_->prefix;
  }
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const AddedToken* best = nullptr;
    for (const AddedToken& token : impl_->added) {
      if (text[i] == token.content[0] &&
          text.compare(i, token.content.size(), token.content) == 0 &&
          (best == nullptr || token.content.size() > best->content.size())) {
        best = &token;
      }
    }
    if (best == nullptr) {
      ++i;
      continue;
    }
    impl_->encode_piece(text.substr(begin, i - begin), out);
    out.push_back(best->id);
    i += best->content.size();
    while (best->rstrip && i < text.size() && (text[i] == ' ' || text[i] == '\n')) {
      ++i;
    }
    begin = i;
  }
  impl_->encode_piece(text.substr(begin), out);
  return out;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string out;
  for (const std::int32_t id : ids) {
    if (skip_special && impl_->is_special.at(static_cast<std::size_t>(id))) {
      continue;
    }
    const std::string& token = impl_->tokens.at(static_cast<std::size_t>(id));
    if (!impl_->byte_level) {
      if (token.size() == 6 && token.compare(0, 3, "<0x") == 0) {
        out += static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16));
        continue;
      }
      std::string text = token;
      for (std::size_t at = 0; (at = text.find("\u2581", at)) != std::string::npos;) {
        text.replace(at, 3, " ");
      }
      out += text;
      continue;
    }
    for (std::size_t i = 0; i < token.size();) {
      const std::size_t length = utf8_length(static_cast<unsigned char>(token[i]));
      const auto it = impl_->text_to_byte.find(token.substr(i, length));
      out += it == impl_->text_to_byte.end() ? token.substr(i, length) : std::string(1, it->second);
      i += length;
    }
  }
  if (!impl_->byte_level && !out.empty() && out.front() == ' ') {
    out.erase(0, 1);
  }
  return out;
}

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const auto it = impl_->vocab.find(std::string(token));
  return it == impl_->vocab.end() ? std::nullopt : std::optional<std::int32_t>(it->second);
}

std::string Tokenizer::id_to_token(std::int32_t id) const {
  return impl_->tokens.at(static_cast<std::size_t>(id));
}
std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(impl_->tokens.size());
}
const std::string& Tokenizer::hash() const { return impl_->hash; }

}  // namespace growmerge
