// Text files, plain and compressed, for the tests of this room.
#pragma once

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/tokenize.h"

namespace growmerge::data {

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string gzip_bytes(const std::string& text) {
  z_stream state{};
  deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 1000, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, Z_FINISH);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

inline std::string zstd_bytes(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

/// As `zstd --long=31` packs what comes through a pipe: the window is 2 GiB whatever the text's
/// size.
inline std::string zstd_long_bytes(const std::string& text) {
  ZSTD_CCtx* state = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(state, ZSTD_c_windowLog, 31);
  // Small tables: the window alone is to be large.
  for (const auto parameter : {ZSTD_c_hashLog, ZSTD_c_chainLog}) {
    ZSTD_CCtx_setParameter(state, parameter, 10);
  }
  std::string out(ZSTD_compressBound(text.size()), '\0');
  ZSTD_inBuffer in{text.data(), text.size(), 0};
  ZSTD_outBuffer buffer{out.data(), out.size(), 0};
  // Without ZSTD_e_end in the first call the size is not known, and the window not cut down to it.
  ZSTD_compressStream2(state, &buffer, &in, ZSTD_e_flush);
  ZSTD_compressStream2(state, &buffer, &in, ZSTD_e_end);
  ZSTD_freeCCtx(state);
  out.resize(buffer.pos);
  return out;
}

inline std::string xz_bytes(const std::string& text) {
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  std::size_t size = 0;
  lzma_easy_buffer_encode(0, LZMA_CHECK_CRC64, nullptr,
                          reinterpret_cast<const std::uint8_t*>(text.data()), text.size(),
                          reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size());
  out.resize(size);
  return out;
}

inline std::string bzip2_bytes(const std::string& text) {
  std::string out(text.size() + text.size() / 100 + 600, '\0');
  auto size = static_cast<unsigned>(out.size());
  BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(text.data()),
                           static_cast<unsigned>(text.size()), 1, 0, 0);
  out.resize(size);
  return out;
}

/// Tokens are bytes + 2, BOS is 1, EOS is 0.
inline DocumentEncoder byte_encoder() {
  DocumentEncoder encoder;
  encoder.vocab_size = 258;
  encoder.bos_id = 1;
  encoder.eos_id = 0;
  encoder.tokenizer_hash = "bytes";
  encoder.encode = [](std::string_view text) {
    std::vector<std::int32_t> tokens{1};
    for (const char c : text) {
      tokens.push_back(static_cast<unsigned char>(c) + 2);
    }
    tokens.push_back(0);
    return tokens;
  };
  return encoder;
}

/// `count` JSONL documents of varied length, with characters of one to four bytes.
inline std::string json_lines(int count, const std::string& language) {
  const std::vector<std::string> pieces{"word ", "größe ", "naïve ",
                                        "日本 ", "🙂 ",  "\\\"q\\\" "};
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += R"({"id": ")" + language + std::to_string(i) + R"(", "text": ")" + std::to_string(i);
    for (int j = 0; j < (i * 7919) % 400; ++j) {
      text += pieces[static_cast<std::size_t>(i + j * j) % pieces.size()];
    }
    text += "\"}\n";
  }
  return text;
}

}  // namespace growmerge::data
