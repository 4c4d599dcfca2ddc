#include "core/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "core/tokenizer/normalizer.h"
#include "core/tokenizer/token_map.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

/// Runs of byte tokens become their text, or U+FFFD for each byte when they are no valid text.
void join_fallback_bytes(std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) {
      return;
    }
    if (find_invalid_utf8(bytes)) {
      // For each byte and not for each broken character: so does the package.
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    } else {
      out.push_back(bytes);
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = byte_of_token(token); byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

std::string joined(const std::vector<std::string>& tokens) {
  std::string out;
  for (const std::string& token : tokens) {
    out += token;
  }
  return out;
}

void strip(std::string& token, const DecoderSpec& spec) {
  std::size_t begin = 0;
  for (std::size_t i = 0;
       i < spec.start && token.compare(begin, spec.content.size(), spec.content) == 0; ++i) {
    begin += spec.content.size();
  }
  std::size_t end = token.size();
  for (std::size_t i = 0;
       i < spec.stop && end >= begin + spec.content.size() &&
       token.compare(end - spec.content.size(), spec.content.size(), spec.content) == 0;
       ++i) {
    end -= spec.content.size();
  }
  token = token.substr(begin, end - begin);
}

}  // namespace

Decoder::Decoder(const std::vector<DecoderSpec>& specs) {
  for (const DecoderSpec& spec : specs) {
    Step step{spec, std::nullopt};
    if (spec.kind == DecoderSpec::Kind::kReplace) {
      GM_CHECK(!spec.pattern.text.empty(), kUnsupported,
               "decoder Replace: an empty pattern is not understood");
      if (spec.pattern.is_regex) {
        step.pattern.emplace(spec.pattern.text);
      }
    }
    steps_.push_back(std::move(step));
  }
}

void Decoder::run_step(const Step& step, std::vector<std::string>& tokens) const {
  using Kind = DecoderSpec::Kind;
  const DecoderSpec& spec = step.spec;
  switch (spec.kind) {
    case Kind::kByteLevel: {
      std::string bytes;
      for (const std::string& token : tokens) {
        if (!alphabet_.decode(token, bytes)) {
          bytes += token;  // an added token spells itself
        }
      }
      // Joined before it is looked at: a character's bytes may be spread over tokens.
      tokens = {replace_invalid_utf8(bytes)};
      return;
    }
    case Kind::kReplace:
      for (std::string& token : tokens) {
        token = step.pattern ? replace_matches(token, *step.pattern, spec.content)
                             : replace_literal(token, spec.pattern.text, spec.content);
      }
      return;
    case Kind::kByteFallback:
      join_fallback_bytes(tokens);
      return;
    case Kind::kFuse:
      tokens = {joined(tokens)};
      return;
    case Kind::kStrip:
      for (std::string& token : tokens) {
        strip(token, spec);
      }
      return;
    case Kind::kMetaspace:
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        // The space in front of the text was added by encoding, so it goes again.
        const bool drop = i == 0 && spec.prepend_scheme != PrependScheme::kNever;
        tokens[i] = replace_literal(tokens[i], spec.replacement, drop ? "" : " ");
      }
      return;
  }
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  if (steps_.empty()) {
    // Without a decoder the package puts spaces between tokens.
    std::string out;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      out += i == 0 ? "" : " ";
      out += tokens[i];
    }
    return out;
  }
  for (const Step& step : steps_) {
    run_step(step, tokens);
  }
  return joined(tokens);
}

}  // namespace growmerge::tok
