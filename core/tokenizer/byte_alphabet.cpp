#include "core/tokenizer/byte_alphabet.h"

#include "core/tokenizer/unicode.h"

namespace growmerge::tok {

ByteAlphabet::ByteAlphabet() {
  byte_.fill(-1);
  std::uint32_t next = 256;  // bytes that are not printable follow behind, in order
  for (std::uint32_t b = 0; b < 256; ++b) {
    // GPT-2's rule: a printable character of Latin-1 stands for itself. Spaces, 0x7F to 0xA0 and
    // the soft hyphen (0xAD) do not.
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    const std::uint32_t c = printable ? b : next++;
    append_utf8(text_[b], c);
    byte_[c] = static_cast<std::int16_t>(b);
  }
}

std::string ByteAlphabet::encode(std::string_view bytes) const {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char b : bytes) {
    out += text_[static_cast<unsigned char>(b)];
  }
  return out;
}

bool ByteAlphabet::decode(std::string_view text, std::string& out) const {
  const std::size_t before = out.size();
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 0;
    const std::uint32_t c = decode_utf8(text.data() + i, &length);
    if (c >= byte_.size() || byte_[c] < 0) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(byte_[c]);
    i += length;
  }
  return true;
}

}  // namespace growmerge::tok
