// Token shards: the tokens of one language, document after document, in one HDF5 file.
//
// Data sets (one-dimensional, contiguous, little-endian):
//   /tokens              uint16 [num_tokens] where the vocabulary fits, else uint32
//   /document_offsets    uint64 [num_documents + 1], ascending, first 0, last num_tokens
//   /document_bytes      uint32 [num_documents], UTF-8 bytes of each document's text
//   /token_block_crc32c  uint32, CRC-32C of each block of kCrcBlockBytes bytes of /tokens
// Attributes of the root group: see docs/formats/token_shard.md.
// A document is [BOS where the tokenizer adds one], its tokens, EOS.
//
// The reader maps the file: memory is what the page cache keeps, and a window costs one copy.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/positioned_file.h"

namespace growmerge::data {

struct TokenShardInfo {
  static constexpr std::int64_t kVersion = 1;

  std::string language;
  std::string sources;         // where the text came from, one a line
  std::string tokenizer_hash;  // Tokenizer::hash()
  std::int64_t vocab_size = 0;
  std::int64_t bos_id = -1;  // -1 where documents start without one
  std::int64_t eos_id = 0;   // ends every document
  std::uint64_t num_tokens = 0;
  std::uint64_t num_documents = 0;
  std::uint64_t num_bytes = 0;       // UTF-8 bytes of the text
  std::uint64_t num_characters = 0;  // Unicode code points of the text

  [[nodiscard]] std::size_t token_bytes() const { return vocab_size <= 65536 ? 2 : 4; }
};

/// Byte offsets of the data sets in a shard file.
struct TokenShardLayout {
  std::uint64_t tokens = 0;
  std::uint64_t document_offsets = 0;
  std::uint64_t document_bytes = 0;
};

inline constexpr std::uint64_t kCrcBlockBytes = 1 << 20;

/// Makes a shard file whose counts are known; its data sets are then written at their offsets, by
/// any number of processes, and seal_token_shard() makes it whole. Equal contents give equal bytes.
/// Errors: kInvalidArgument when there is no document; kIo.
[[nodiscard]] TokenShardLayout create_token_shard(const std::filesystem::path& path,
                                                  const TokenShardInfo& info);
/// Computes the checksums and marks the file as finished. Errors: kIo.
void seal_token_shard(const std::filesystem::path& path);

/// Writes a shard document by document in one process. Tokens go to PATH.spill first, because the
/// file's counts must be known before it is laid out.
class TokenShardWriter {
 public:
  /// The counts in `info` are ignored.
  TokenShardWriter(std::filesystem::path path, TokenShardInfo info);
  ~TokenShardWriter();
  /// `tokens` is the whole document, EOS included. Errors: kInvalidArgument for a token outside the
  /// vocabulary or an empty document; kIo.
  void add(std::span<const std::int32_t> tokens, std::uint32_t text_bytes,
           std::uint32_t text_characters);
  /// Lays the shard out and seals it. Returns its counts.
  TokenShardInfo finish();

 private:
  void flush();
  std::filesystem::path path_;
  std::filesystem::path spill_path_;
  TokenShardInfo info_;
  std::unique_ptr<PositionedFile> spill_;
  std::uint64_t spilled_bytes_ = 0;
  std::vector<std::byte> buffer_;
  std::vector<std::uint64_t> offsets_{0};
  std::vector<std::uint32_t> document_bytes_;
};

/// Appends `tokens` to `bytes` in a shard's token type. Errors: kInvalidArgument naming a token
/// outside [0, vocab_size).
void pack_tokens(std::span<const std::int32_t> tokens, const TokenShardInfo& info,
                 std::vector<std::byte>& bytes);

class TokenShard {
 public:
  /// Errors: kNotFound; kCorrupt when the file is unfinished, truncated, or its parts disagree;
  /// kUnsupported for a format version other than kVersion.
  [[nodiscard]] static TokenShard open(const std::filesystem::path& path);
  TokenShard(TokenShard&& other) noexcept = default;
  TokenShard& operator=(TokenShard&&) = delete;
  ~TokenShard() = default;

  [[nodiscard]] const TokenShardInfo& info() const { return info_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::uint64_t num_tokens() const { return info_.num_tokens; }
  [[nodiscard]] std::uint64_t num_documents() const { return info_.num_documents; }
  /// First token of document i; i may be num_documents().
  [[nodiscard]] std::uint64_t document_start(std::uint64_t i) const { return offsets_[i]; }
  [[nodiscard]] std::uint64_t document_length(std::uint64_t i) const {
    return offsets_[i + 1] - offsets_[i];
  }
  /// UTF-8 bytes of document i's text.
  [[nodiscard]] std::uint32_t document_bytes(std::uint64_t i) const { return document_bytes_[i]; }
  /// Copies tokens [first, first + out.size()). The checksum of a block is checked when it is first
  /// read. Errors: kInvalidArgument outside the shard; kCorrupt naming a block that has changed or
  /// a token outside the vocabulary. Thread-safe.
  void read(std::uint64_t first, std::span<std::int64_t> out) const;
  [[nodiscard]] std::vector<std::int64_t> document(std::uint64_t i) const;
  /// Hash of the attributes and checksums, so of the contents; reads no tokens.
  [[nodiscard]] const std::string& identity() const { return identity_; }
  /// Reads everything: checksums, every token inside the vocabulary, every document ending in EOS.
  /// Errors: kCorrupt naming the first block or document that is wrong.
  void verify() const;

 private:
  TokenShard() = default;
  void check_offsets() const;
  /// Checks the blocks of bytes [first, end) of /tokens that were not checked yet.
  void check_blocks(std::uint64_t first_byte, std::uint64_t end_byte) const;
  void map_parts();
  std::filesystem::path path_;
  TokenShardInfo info_;
  std::string identity_;
  MappedFile map_;
  const std::byte* tokens_ = nullptr;
  const std::uint64_t* offsets_ = nullptr;
  const std::uint32_t* document_bytes_ = nullptr;
  const std::uint32_t* block_crcs_ = nullptr;
  std::unique_ptr<std::atomic<bool>[]> block_is_checked_;  // [blocks]
  std::int64_t offsets_crc_ = 0;
  std::int64_t document_bytes_crc_ = 0;
};

}  // namespace growmerge::data
