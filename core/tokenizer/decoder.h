// Decoders: tokens to text.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/tokenizer/byte_alphabet.h"
#include "core/tokenizer/pattern.h"
#include "core/tokenizer/spec.h"

namespace growmerge::tok {

class Decoder {
 public:
  explicit Decoder(const std::vector<DecoderSpec>& specs);
  /// Valid UTF-8. Without any decoder, the tokens with a space between them.
  [[nodiscard]] std::string decode(std::vector<std::string> tokens) const;

 private:
  struct Step {
    DecoderSpec spec;
    std::optional<Pattern> pattern;
  };
  void run_step(const Step& step, std::vector<std::string>& tokens) const;
  std::vector<Step> steps_;
  ByteAlphabet alphabet_;
};

}  // namespace growmerge::tok
