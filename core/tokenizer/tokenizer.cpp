#include "core/tokenizer/tokenizer.h"

#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>
#include <variant>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/log.h"
#include "core/store/hashes.h"
#include "core/tokenizer/added_tokens.h"
#include "core/tokenizer/bpe.h"
#include "core/tokenizer/decoder.h"
#include "core/tokenizer/normalizer.h"
#include "core/tokenizer/pre_tokenizer.h"
#include "core/tokenizer/spec.h"
#include "core/tokenizer/token_spans.h"
#include "core/tokenizer/traced_text.h"
#include "core/tokenizer/unicode.h"
#include "core/tokenizer/unigram.h"

namespace growmerge {
namespace {

using tok::AddedTokenMatcher;
using tok::AddedTokenSpec;
using tok::EncodeState;

/// The states of threads that do not encode at the moment.
/// Encoding is const and called from any thread; a state is taken for one call and put back, so
/// that the cache of words outlives it and no two threads share one.
class StatePool {
 public:
  std::unique_ptr<EncodeState> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<EncodeState> state = std::move(free_.back());
        free_.pop_back();
        return state;
      }
    }
    // Outside the lock: a state's cache is large.
    return std::make_unique<EncodeState>();
  }
  void put(std::unique_ptr<EncodeState> state) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(state));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeState>> free_;
};

/// A matcher for the added tokens that are looked for in the raw or in the normalized text.
AddedTokenMatcher make_matcher(const std::vector<AddedTokenSpec>& all, bool normalized,
                               const tok::Normalizer& normalizer) {
  std::vector<AddedTokenSpec> tokens;
  std::vector<std::string> texts;
  for (const AddedTokenSpec& token : all) {
    if (token.normalized == normalized) {
      std::string buffer;
      texts.emplace_back(normalized ? normalizer.normalize(token.content, buffer)
                                    : std::string_view(token.content));
      tokens.push_back(token);
    }
  }
  return {std::move(tokens), texts};
}

using Model = std::variant<tok::Bpe, tok::Unigram>;

Model make_model(const tok::TokenizerSpec& spec, bool byte_level) {
  if (const auto* bpe = std::get_if<tok::BpeSpec>(&spec.model)) {
    return tok::Bpe(*bpe, byte_level, spec.pre_tokenizers.empty());
  }
  GM_CHECK(!byte_level, kUnsupported,
           "pre-tokenizer 'ByteLevel' as the last one before a Unigram model is not understood");
  return tok::Unigram(std::get<tok::UnigramSpec>(spec.model));
}

/// The model's tokens with their ids.
std::vector<std::pair<std::string, std::int32_t>> vocabulary(const tok::TokenizerSpec& spec) {
  if (const auto* bpe = std::get_if<tok::BpeSpec>(&spec.model)) {
    return bpe->vocab;
  }
  std::vector<std::pair<std::string, std::int32_t>> out;
  for (const auto& [piece, score] : std::get<tok::UnigramSpec>(spec.model).vocab) {
    out.emplace_back(piece, static_cast<std::int32_t>(out.size()));
  }
  return out;
}

[[noreturn]] void refuse_invalid(std::string_view text, std::size_t at) {
  fail(ErrorCode::kCorrupt, "text to encode is not valid UTF-8 at byte ", at, " of ", text.size());
}

}  // namespace

struct Tokenizer::Impl {
  Impl(tok::TokenizerSpec spec, std::string text_hash)
      : hash(std::move(text_hash)),
        normalizer(spec.normalizers),
        pre_tokenizer(spec.pre_tokenizers),
        model(make_model(spec, pre_tokenizer.byte_level())),
        decoder(spec.decoders),
        templates(std::move(spec.templates)),
        raw_tokens(make_matcher(spec.added_tokens, false, normalizer)),
        normalized_tokens(make_matcher(spec.added_tokens, true, normalizer)) {
    // Ids may have gaps, so which are known is noted apart. Added tokens come last and win.
    const auto put = [this](const std::string& token, std::int32_t id) {
      const auto i = static_cast<std::size_t>(id);
      if (i >= tokens.size()) {
        tokens.resize(i + 1);
        special.resize(i + 1);
        known.resize(i + 1);
      }
      tokens[i] = token;
      known[i] = true;
    };
    for (const auto& [token, id] : vocabulary(spec)) {
      put(token, id);
    }
    for (const AddedTokenSpec& token : spec.added_tokens) {
      put(token.content, token.id);
      added.emplace(token.content, token.id);
    }
    set_decoded_forms(spec.added_tokens);
  }

  void set_decoded_forms(const std::vector<AddedTokenSpec>& added_tokens);
  template <class ModelKind>
  void encode_text(std::string_view text, const ModelKind& kind, EncodeState& state,
                   std::vector<std::int32_t>& out) const;
  void encode_text_traced(std::string_view text, std::vector<TokenSpan>& out) const;
  void encode_words_traced(const std::vector<tok::TracedText>& words, std::uint32_t base,
                           std::vector<TokenSpan>& out) const;

  std::string hash;
  tok::Normalizer normalizer;
  tok::PreTokenizer pre_tokenizer;
  Model model;
  tok::Decoder decoder;
  std::vector<tok::TemplateSpec> templates;
  AddedTokenMatcher raw_tokens;
  AddedTokenMatcher normalized_tokens;
  tok::TokenMap added;
  std::vector<std::string> tokens;
  std::unordered_map<std::int32_t, std::string> decoded_forms;  // where not the token itself
  std::vector<bool> special;                                    // skipped by decode(.., true)
  std::vector<bool> known;
  mutable StatePool states;
};

/// As in the package, a token that is looked for in normalized text enters the decoder normalized,
/// and is special only if that form is the text of a special token.
void Tokenizer::Impl::set_decoded_forms(const std::vector<AddedTokenSpec>& added_tokens) {
  std::set<std::string_view> special_texts;
  for (const AddedTokenSpec& token : added_tokens) {
    if (token.special) {
      special_texts.insert(token.content);
    }
  }
  for (const AddedTokenSpec& token : added_tokens) {
    std::string buffer;
    std::string_view form = token.content;
    if (token.normalized) {
      form = normalizer.normalize(form, buffer);
    }
    if (form != token.content) {
      decoded_forms.emplace(token.id, form);
    }
    special[static_cast<std::size_t>(token.id)] = special_texts.contains(form);
  }
}

template <class ModelKind>
void Tokenizer::Impl::encode_text(std::string_view text, const ModelKind& kind, EncodeState& state,
                                  std::vector<std::int32_t>& out) const {
  const auto encode_plain = [&](std::string_view plain, bool at_start) {
    pre_tokenizer.for_each_word(plain, at_start,
                                [&](std::string_view word) { kind.encode(word, state, out); });
  };
  raw_tokens.split(text, [&](const AddedTokenMatcher::Piece& raw) {
    if (raw.id >= 0) {
      out.push_back(raw.id);
      return;
    }
    // Whether a piece begins the text is seen by its address: pieces are views into it.
    const bool starts = raw.text.data() == text.data() &&
                        (!pre_tokenizer.asks_for_start() || normalizer.keeps_front(raw.text));
    const std::string_view normalized = normalizer.normalize(raw.text, state.buffer);
    normalized_tokens.split(normalized, [&](const AddedTokenMatcher::Piece& piece) {
      if (piece.id >= 0) {
        out.push_back(piece.id);
      } else {
        encode_plain(piece.text, starts && piece.text.data() == normalized.data());
      }
    });
  });
}

void Tokenizer::Impl::encode_words_traced(const std::vector<tok::TracedText>& words,
                                          std::uint32_t base, std::vector<TokenSpan>& out) const {
  const std::int32_t unknown = std::visit([](const auto& m) { return m.unknown_id(); }, model);
  std::unique_ptr<EncodeState> state = states.take();
  std::vector<std::int32_t> ids;
  for (const tok::TracedText& word : words) {
    ids.clear();
    std::visit([&](const auto& m) { m.encode(word.text, *state, ids); }, model);
    tok::append_spans(word, ids, tokens, pre_tokenizer.byte_level(), unknown, base, out);
  }
  states.put(std::move(state));
}

/// encode_text() again, step by step over texts that know where they came from.
void Tokenizer::Impl::encode_text_traced(std::string_view text, std::vector<TokenSpan>& out) const {
  raw_tokens.split(text, [&](const AddedTokenMatcher::Piece& raw) {
    const auto base = static_cast<std::uint32_t>(raw.text.data() - text.data());
    if (raw.id >= 0) {
      out.push_back({raw.id, base, base + static_cast<std::uint32_t>(raw.text.size())});
      return;
    }
    const tok::TracedText normalized = normalizer.normalize(tok::TracedText::of_original(raw.text));
    normalized_tokens.split(normalized.text, [&](const AddedTokenMatcher::Piece& piece) {
      const auto begin = static_cast<std::size_t>(piece.text.data() - normalized.text.data());
      const std::size_t end = begin + piece.text.size();
      if (piece.id >= 0) {
        const tok::Span span = normalized.origin_of(begin, end);
        out.push_back({piece.id, base + span.begin, base + span.end});
      } else {
        const bool at_start = base == 0 && begin == 0 && normalizer.keeps_front(raw.text);
        encode_words_traced(pre_tokenizer.traced_words(normalized.slice(begin, end), at_start),
                            base, out);
      }
    });
  });
}

Tokenizer::Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(path)) {
    file = path / "tokenizer.json";
    if (!std::filesystem::exists(file)) {
      GM_CHECK(!std::filesystem::exists(path / "tokenizer.model"), kUnsupported, path.string(),
               " holds only tokenizer.model (SentencePiece), which is not read: convert it once "
               "with Transformers, AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR), which "
               "writes tokenizer.json");
      fail(ErrorCode::kNotFound, "loading ", path.string(), ": there is no tokenizer.json");
    }
  }
  GM_CHECK(file.extension() != ".model" && file.extension() != ".tiktoken", kUnsupported,
           file.string(),
           " is no tokenizer.json: convert it once with Transformers, "
           "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR), which writes tokenizer.json");
  return parse(read_json_text(file), file.string());
}

Tokenizer Tokenizer::parse(const std::string& json_text, const std::string& name) {
  return with_context("loading " + name, [&] {
    Tokenizer out;
    tok::TokenizerSpec spec = tok::parse_spec(json_text);
    for (const std::string& part : spec.ignored) {
      log_warning_once(
          concat(name, ": \"", part, "\" is left aside: whole documents are encoded, as they are"));
    }
    out.impl_ =
        std::make_unique<Impl>(std::move(spec), hash_bytes(json_text.data(), json_text.size()));
    return out;
  });
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  if (const auto bad = tok::find_invalid_utf8(text)) {
    refuse_invalid(text, *bad);
  }
  std::vector<std::int32_t> out;
  // About three bytes a token; an estimate that is too low costs one copy.
  out.reserve(text.size() / 3 + 16);
  if (add_special) {
    // Each template wraps what the one before it made, so the last one's tokens are outermost.
    for (auto step = impl_->templates.rbegin(); step != impl_->templates.rend(); ++step) {
      out.insert(out.end(), step->before.begin(), step->before.end());
    }
  }
  std::unique_ptr<EncodeState> state = impl_->states.take();
  // Told apart here, once a text, and not at every word.
  std::visit([&](const auto& kind) { impl_->encode_text(text, kind, *state, out); }, impl_->model);
  impl_->states.put(std::move(state));
  if (add_special) {
    for (const tok::TemplateSpec& step : impl_->templates) {
      out.insert(out.end(), step.after.begin(), step.after.end());
    }
  }
  return out;
}

std::vector<TokenSpan> Tokenizer::encode_spans(std::string_view text, bool add_special) const {
  if (const auto bad = tok::find_invalid_utf8(text)) {
    refuse_invalid(text, *bad);
  }
  const auto size = static_cast<std::uint32_t>(text.size());
  std::vector<TokenSpan> out;
  if (add_special) {
    for (auto step = impl_->templates.rbegin(); step != impl_->templates.rend(); ++step) {
      for (const std::int32_t id : step->before) {
        out.push_back({id, 0, 0});
      }
    }
  }
  impl_->encode_text_traced(text, out);
  if (add_special) {
    for (const tok::TemplateSpec& step : impl_->templates) {
      for (const std::int32_t id : step.after) {
        out.push_back({id, size, size});
      }
    }
  }
  return out;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids) {
    const auto i = static_cast<std::size_t>(id);
    if (id < 0 || i >= impl_->tokens.size() || !impl_->known[i] ||
        (skip_special && impl_->special[i])) {
      continue;
    }
    const auto form = impl_->decoded_forms.find(id);
    tokens.push_back(form == impl_->decoded_forms.end() ? impl_->tokens[i] : form->second);
  }
  return impl_->decoder.decode(std::move(tokens));
}

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const auto it = impl_->added.find(token);
  return it != impl_->added.end()
             ? std::optional<std::int32_t>(it->second)
             : std::visit([&](const auto& m) { return m.token_to_id(token); }, impl_->model);
}

TokenKind Tokenizer::kind(std::int32_t id) const {
  const std::string token = id_to_token(id);
  return std::visit(
      [&](const auto& m) {
        if (id == m.unknown_id()) {
          return TokenKind::kUnknown;
        }
        if (impl_->added.contains(token)) {
          return TokenKind::kAdded;
        }
        return m.byte_fallback() && tok::byte_of_token(token) >= 0 ? TokenKind::kByte
                                                                   : TokenKind::kText;
      },
      impl_->model);
}

std::string Tokenizer::id_to_token(std::int32_t id) const {
  const auto i = static_cast<std::size_t>(id);
  GM_CHECK(id >= 0 && i < impl_->tokens.size() && impl_->known[i], kNotFound,
           "the tokenizer has no token ", id, ": it has ids below ", impl_->tokens.size());
  return impl_->tokens[i];
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(impl_->tokens.size());
}

const std::string& Tokenizer::hash() const { return impl_->hash; }

}  // namespace growmerge
