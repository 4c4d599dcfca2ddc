#include "data/token_shard.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "data/hdf5_file.h"

namespace growmerge::data {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little-endian");

constexpr const char* kFormat = "growmerge token shard";
constexpr const char* kTokens = "tokens";
constexpr const char* kOffsets = "document_offsets";
constexpr const char* kDocumentBytes = "document_bytes";
constexpr const char* kBlockCrcs = "token_block_crc32c";

/// The last block may be short.
std::uint64_t num_crc_blocks(std::uint64_t token_bytes) {
  return (token_bytes + kCrcBlockBytes - 1) / kCrcBlockBytes;
}

Hdf5Type token_type(const TokenShardInfo& info) {
  return info.token_bytes() == 2 ? Hdf5Type::kUint16 : Hdf5Type::kUint32;
}

std::uint64_t count_attribute(const Hdf5File& file, const std::filesystem::path& path,
                              const std::string& name) {
  const std::int64_t value = file.int_attribute(name);
  GM_CHECK(value >= 0, kCorrupt, path.string(), ": attribute ", name, " is negative: ", value);
  return static_cast<std::uint64_t>(value);
}

/// CRC-32C of `bytes` bytes at `offset`, in pieces.
std::uint32_t file_crc(const PositionedFile& file, std::uint64_t offset, std::uint64_t bytes) {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(bytes, kCrcBlockBytes));
  std::uint32_t crc = 0;
  while (bytes > 0) {
    const std::size_t piece = std::min<std::uint64_t>(bytes, buffer.size());
    file.read_at(offset, buffer.data(), piece);
    crc = crc32c(buffer.data(), piece, crc);
    offset += piece;
    bytes -= piece;
  }
  return crc;
}

TokenShardInfo read_info(const Hdf5File& file, const std::filesystem::path& path) {
  GM_CHECK(file.has_attribute("format") && file.string_attribute("format") == kFormat, kCorrupt,
           path.string(), ": is an HDF5 file, but no growmerge token shard");
  // seal_token_shard() writes the version last, so without it the rest cannot be trusted.
  GM_CHECK(file.has_attribute("format_version"), kCorrupt, path.string(),
           ": is unfinished (the program that wrote it stopped): tokenize again");
  const std::int64_t version = file.int_attribute("format_version");
  GM_CHECK(version == TokenShardInfo::kVersion, kUnsupported, path.string(), ": format version ",
           version, ", this program reads version ", TokenShardInfo::kVersion,
           ": use a newer growmerge or tokenize again");
  TokenShardInfo info;
  info.language = file.string_attribute("language");
  info.sources = file.string_attribute("sources");
  info.tokenizer_hash = file.string_attribute("tokenizer_hash");
  info.vocab_size = file.int_attribute("vocab_size");
  info.bos_id = file.int_attribute("bos_token_id");
  info.eos_id = file.int_attribute("eos_token_id");
  info.num_tokens = count_attribute(file, path, "num_tokens");
  info.num_documents = count_attribute(file, path, "num_documents");
  info.num_bytes = count_attribute(file, path, "num_bytes");
  info.num_characters = count_attribute(file, path, "num_characters");
  // Everything that reads tokens relies on these.
  GM_CHECK(info.vocab_size > 0 && info.eos_id >= 0 && info.eos_id < info.vocab_size &&
               info.bos_id >= -1 && info.bos_id < info.vocab_size,
           kCorrupt, path.string(), ": vocabulary of ", info.vocab_size, " with BOS ", info.bos_id,
           " and EOS ", info.eos_id, " makes no sense");
  return info;
}

}  // namespace

TokenShardLayout create_token_shard(const std::filesystem::path& path, const TokenShardInfo& info) {
  GM_CHECK(info.num_documents > 0 && info.num_tokens > 0, kInvalidArgument, path.string(),
           ": no document of language '", info.language, "' to write");
  Hdf5File file = Hdf5File::create(path);
  TokenShardLayout layout;
  layout.tokens = file.create_dataset(kTokens, token_type(info), info.num_tokens).file_offset;
  layout.document_offsets =
      file.create_dataset(kOffsets, Hdf5Type::kUint64, info.num_documents + 1).file_offset;
  layout.document_bytes =
      file.create_dataset(kDocumentBytes, Hdf5Type::kUint32, info.num_documents).file_offset;
  // A data set of size 0 has no place in the file, which is why a shard holds a token at least.
  file.create_dataset(kBlockCrcs, Hdf5Type::kUint32,
                      num_crc_blocks(info.num_tokens * info.token_bytes()));
  file.set_attribute("format", std::string(kFormat));
  file.set_attribute("language", info.language);
  // Attributes are limited to 64 KiB; this one is for people to read.
  file.set_attribute("sources", info.sources.substr(0, 60000));
  file.set_attribute("tokenizer_hash", info.tokenizer_hash);
  file.set_attribute("vocab_size", info.vocab_size);
  file.set_attribute("bos_token_id", info.bos_id);
  file.set_attribute("eos_token_id", info.eos_id);
  file.set_attribute("num_tokens", static_cast<std::int64_t>(info.num_tokens));
  file.set_attribute("num_documents", static_cast<std::int64_t>(info.num_documents));
  file.set_attribute("num_bytes", static_cast<std::int64_t>(info.num_bytes));
  file.set_attribute("num_characters", static_cast<std::int64_t>(info.num_characters));
  file.set_attribute("crc_block_bytes", static_cast<std::int64_t>(kCrcBlockBytes));
  // From here on the data sets are bytes at known places, written without HDF5.
  file.close();
  return layout;
}

void seal_token_shard(const std::filesystem::path& path) {
  // Checksums are of what lies in the file, read back, and not of what was meant to be written.
  Hdf5File file = Hdf5File::open(path, true);
  const Hdf5Dataset tokens = file.dataset(kTokens);
  const Hdf5Dataset offsets = file.dataset(kOffsets);
  const Hdf5Dataset bytes = file.dataset(kDocumentBytes);
  const Hdf5Dataset crcs = file.dataset(kBlockCrcs);
  PositionedFile plain(path, PositionedFile::Mode::kUpdate);
  const std::uint64_t token_bytes = tokens.size * hdf5_type_bytes(tokens.type);
  std::vector<std::uint32_t> values(crcs.size);
  for (std::uint64_t block = 0; block < crcs.size; ++block) {
    const std::uint64_t first = block * kCrcBlockBytes;
    values[block] =
        file_crc(plain, tokens.file_offset + first, std::min(kCrcBlockBytes, token_bytes - first));
  }
  plain.write_at(crcs.file_offset, values.data(), values.size() * sizeof(std::uint32_t));
  // The two small data sets are checked whole when a shard is opened; tokens block by block when
  // they are first read.
  file.set_attribute("document_offsets_crc32c",
                     static_cast<std::int64_t>(file_crc(plain, offsets.file_offset,
                                                        offsets.size * sizeof(std::uint64_t))));
  file.set_attribute("document_bytes_crc32c",
                     static_cast<std::int64_t>(
                         file_crc(plain, bytes.file_offset, bytes.size * sizeof(std::uint32_t))));
  plain.close();
  file.set_attribute("format_version", TokenShardInfo::kVersion);  // last: now it is whole
  file.close();
}

void pack_tokens(std::span<const std::int32_t> tokens, const TokenShardInfo& info,
                 std::vector<std::byte>& bytes) {
  const std::size_t width = info.token_bytes();
  std::size_t at = bytes.size();
  bytes.resize(at + tokens.size() * width);
  for (const std::int32_t token : tokens) {
    // Two bytes would cut a larger one silently.
    GM_CHECK(token >= 0 && token < info.vocab_size, kInvalidArgument, "token ", token,
             " is outside the vocabulary of ", info.vocab_size);
    std::memcpy(bytes.data() + at, &token, width);  // little-endian: the low bytes come first
    at += width;
  }
}

TokenShardWriter::TokenShardWriter(std::filesystem::path path, TokenShardInfo info)
    : path_(std::move(path)), spill_path_(path_.string() + ".spill"), info_(std::move(info)) {
  info_.num_tokens = info_.num_documents = info_.num_bytes = info_.num_characters = 0;
  // A data set's size must be known when it is made, so tokens wait in a file beside it.
  spill_ = std::make_unique<PositionedFile>(spill_path_, PositionedFile::Mode::kCreate);
}

TokenShardWriter::~TokenShardWriter() {
  std::error_code ignored;
  std::filesystem::remove(spill_path_, ignored);
}

void TokenShardWriter::add(std::span<const std::int32_t> tokens, std::uint32_t text_bytes,
                           std::uint32_t text_characters) {
  GM_CHECK(!tokens.empty(), kInvalidArgument, path_.string(), ": document ", info_.num_documents,
           " has no tokens");
  pack_tokens(tokens, info_, buffer_);
  info_.num_tokens += tokens.size();
  info_.num_documents += 1;
  info_.num_bytes += text_bytes;
  info_.num_characters += text_characters;
  offsets_.push_back(info_.num_tokens);
  document_bytes_.push_back(text_bytes);
  if (buffer_.size() >= kCrcBlockBytes) {
    flush();
  }
}

void TokenShardWriter::flush() {
  spill_->write_at(spilled_bytes_, buffer_.data(), buffer_.size());
  spilled_bytes_ += buffer_.size();
  buffer_.clear();
}

TokenShardInfo TokenShardWriter::finish() {
  flush();
  const TokenShardLayout layout = create_token_shard(path_, info_);
  PositionedFile file(path_, PositionedFile::Mode::kUpdate);
  // In pieces: a shard may be larger than memory.
  std::vector<std::byte> buffer(kCrcBlockBytes);
  for (std::uint64_t at = 0; at < spilled_bytes_; at += kCrcBlockBytes) {
    const std::size_t piece = std::min(kCrcBlockBytes, spilled_bytes_ - at);
    spill_->read_at(at, buffer.data(), piece);
    file.write_at(layout.tokens + at, buffer.data(), piece);
  }
  file.write_at(layout.document_offsets, offsets_.data(), offsets_.size() * sizeof(std::uint64_t));
  file.write_at(layout.document_bytes, document_bytes_.data(),
                document_bytes_.size() * sizeof(std::uint32_t));
  file.close();
  seal_token_shard(path_);
  return info_;
}

TokenShard TokenShard::open(const std::filesystem::path& path) {
  TokenShard shard;
  shard.path_ = path;
  shard.map_parts();
  return shard;
}

void TokenShard::map_parts() {
  // HDF5 says where things are and is closed again; reading is mapping.
  const Hdf5File file = Hdf5File::open(path_, false);
  info_ = read_info(file, path_);
  const Hdf5Dataset tokens = file.dataset(kTokens);
  const Hdf5Dataset offsets = file.dataset(kOffsets);
  const Hdf5Dataset bytes = file.dataset(kDocumentBytes);
  const Hdf5Dataset crcs = file.dataset(kBlockCrcs);
  GM_CHECK(tokens.type == token_type(info_), kCorrupt, path_.string(), ": /tokens has ",
           hdf5_type_bytes(tokens.type), " bytes a token, a vocabulary of ", info_.vocab_size,
           " needs ", info_.token_bytes());
  GM_CHECK(offsets.type == Hdf5Type::kUint64 && bytes.type == Hdf5Type::kUint32 &&
               crcs.type == Hdf5Type::kUint32,
           kCorrupt, path_.string(), ": a data set has the wrong type");
  GM_CHECK(tokens.size == info_.num_tokens && offsets.size == info_.num_documents + 1 &&
               bytes.size == info_.num_documents &&
               crcs.size == num_crc_blocks(info_.num_tokens * info_.token_bytes()),
           kCorrupt, path_.string(), ": the attributes say ", info_.num_tokens, " tokens and ",
           info_.num_documents, " documents, the data sets hold ", tokens.size, " and ",
           offsets.size - 1);
  GM_CHECK(file.int_attribute("crc_block_bytes") == static_cast<std::int64_t>(kCrcBlockBytes),
           kUnsupported, path_.string(), ": checksum blocks of ",
           file.int_attribute("crc_block_bytes"), " bytes, this program knows ", kCrcBlockBytes);
  offsets_crc_ = file.int_attribute("document_offsets_crc32c");
  document_bytes_crc_ = file.int_attribute("document_bytes_crc32c");

  const PositionedFile plain(path_, PositionedFile::Mode::kRead);
  // A file that was cut off may still open; touching what is missing would kill the process
  // (SIGBUS).
  map_ = plain.map();
  for (const Hdf5Dataset& set : {tokens, offsets, bytes, crcs}) {
    const std::uint64_t set_bytes = set.size * hdf5_type_bytes(set.type);
    GM_CHECK(set.file_offset <= map_.size() && set_bytes <= map_.size() - set.file_offset, kCorrupt,
             path_.string(), ": file is ", map_.size(), " bytes, a data set needs ",
             set.file_offset + set_bytes);
    GM_CHECK(set.file_offset % hdf5_type_bytes(set.type) == 0, kCorrupt, path_.string(),
             ": a data set is not aligned");
  }
  tokens_ = map_.data() + tokens.file_offset;
  offsets_ = reinterpret_cast<const std::uint64_t*>(map_.data() + offsets.file_offset);
  document_bytes_ = reinterpret_cast<const std::uint32_t*>(map_.data() + bytes.file_offset);
  block_crcs_ = reinterpret_cast<const std::uint32_t*>(map_.data() + crcs.file_offset);
  block_is_checked_ = std::make_unique<std::atomic<bool>[]>(crcs.size);
  check_offsets();
  const std::uint32_t blocks_crc = crc32c(block_crcs_, crcs.size * sizeof(std::uint32_t));
  // Checksums of everything that is read, so other contents have another identity and hashing a
  // large file is not needed.
  identity_ = concat("shard1:", info_.language, ":", info_.tokenizer_hash, ":", info_.vocab_size,
                     ":", info_.eos_id, ":", info_.num_tokens, ":", info_.num_documents, ":",
                     std::hex, blocks_crc, ":", offsets_crc_, ":", document_bytes_crc_);
}

void TokenShard::check_offsets() const {
  const std::uint64_t n = info_.num_documents;
  GM_CHECK(offsets_[0] == 0 && offsets_[n] == info_.num_tokens, kCorrupt, path_.string(),
           ": /document_offsets runs from ", offsets_[0], " to ", offsets_[n], ", expected 0 to ",
           info_.num_tokens);
  for (std::uint64_t i = 0; i < n; ++i) {
    // A document without tokens could not end with EOS; rows would loop on it.
    GM_CHECK(offsets_[i] < offsets_[i + 1], kCorrupt, path_.string(),
             ": /document_offsets does not ascend at document ", i, " (", offsets_[i], " then ",
             offsets_[i + 1], ")");
  }
  GM_CHECK(crc32c(offsets_, (n + 1) * sizeof(std::uint64_t)) == offsets_crc_, kCorrupt,
           path_.string(), ": /document_offsets: checksum does not match");
  GM_CHECK(crc32c(document_bytes_, n * sizeof(std::uint32_t)) == document_bytes_crc_, kCorrupt,
           path_.string(), ": /document_bytes: checksum does not match");
}

void TokenShard::check_blocks(std::uint64_t first_byte, std::uint64_t end_byte) const {
  const std::uint64_t bytes = info_.num_tokens * info_.token_bytes();
  for (std::uint64_t block = first_byte / kCrcBlockBytes; block * kCrcBlockBytes < end_byte;
       ++block) {
    // Two threads may check a block twice, which harms nothing: relaxed is enough.
    if (block_is_checked_[block].load(std::memory_order_relaxed)) {
      continue;
    }
    const std::uint64_t begin = block * kCrcBlockBytes;
    const std::uint32_t found = crc32c(tokens_ + begin, std::min(kCrcBlockBytes, bytes - begin));
    GM_CHECK(found == block_crcs_[block], kCorrupt, path_.string(), ": /tokens block ", block,
             " (bytes ", begin, " on): checksum is ", found, ", recorded ", block_crcs_[block],
             ": the file is damaged, tokenize again");
    block_is_checked_[block].store(true, std::memory_order_relaxed);
  }
}

void TokenShard::read(std::uint64_t first, std::span<std::int64_t> out) const {
  GM_CHECK(first <= info_.num_tokens && out.size() <= info_.num_tokens - first, kInvalidArgument,
           path_.string(), ": tokens ", first, " to ", first + out.size(), " of ", info_.num_tokens,
           " asked for");
  check_blocks(first * info_.token_bytes(), (first + out.size()) * info_.token_bytes());
  // Checked once a call and not token by token, so that the loop becomes vector code.
  std::int64_t largest = 0;
  const auto copy = [&]<class Token>(Token) {
    const Token* from = reinterpret_cast<const Token*>(tokens_) + first;
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = from[i];
      largest = std::max(largest, out[i]);
    }
  };
  info_.token_bytes() == 2 ? copy(std::uint16_t{}) : copy(std::uint32_t{});
  GM_CHECK(largest < info_.vocab_size, kCorrupt, path_.string(), ": token ", largest,
           " between positions ", first, " and ", first + out.size(),
           " is outside the vocabulary of ", info_.vocab_size,
           ": the file is damaged, tokenize again");
}

std::vector<std::int64_t> TokenShard::document(std::uint64_t i) const {
  GM_CHECK(i < info_.num_documents, kInvalidArgument, path_.string(), ": document ", i, " of ",
           info_.num_documents, " asked for");
  std::vector<std::int64_t> tokens(document_length(i));
  read(document_start(i), tokens);
  return tokens;
}

void TokenShard::verify() const {
  const std::uint64_t n = info_.num_documents;
  for (std::uint64_t i = 0; i < num_crc_blocks(info_.num_tokens * info_.token_bytes()); ++i) {
    // What was checked before may have changed on disk since.
    block_is_checked_[i].store(false, std::memory_order_relaxed);
  }
  std::vector<std::int64_t> buffer;
  std::uint64_t text_bytes = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    buffer.resize(document_length(i));
    read(document_start(i), buffer);
    GM_CHECK(buffer.back() == info_.eos_id, kCorrupt, path_.string(), ": document ", i,
             " ends with token ", buffer.back(), ", not with EOS ", info_.eos_id);
    text_bytes += document_bytes_[i];
  }
  GM_CHECK(text_bytes == info_.num_bytes, kCorrupt, path_.string(), ": documents hold ", text_bytes,
           " bytes of text, the attribute says ", info_.num_bytes);
}

}  // namespace growmerge::data
