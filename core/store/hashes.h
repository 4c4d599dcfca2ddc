// XXH3-128 hashes, in hexadecimal: of bytes, of files, of lists of fields; and the cache of what
// outside files hash to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/base/files.h"

namespace growmerge {

/// Where hashes of files are cached between processes; empty (the default) caches nothing. launch
/// sets it. A hash counts for the very file (device, inode) while its size and times are what they
/// were: a copied or rewritten one is hashed anew.
void set_hash_cache(const std::filesystem::path& file);
/// hash_file() by way of that cache. Threads may hash at the same time. Errors: those of
/// hash_file(); kIo where the file changes meanwhile.
[[nodiscard]] std::string cached_file_hash(const std::filesystem::path& path);
/// Lets the cache know what was written to a file just now.
void remember_file_hash(const std::filesystem::path& path, const std::string& hash);

/// Errors: kNotFound, kIo.
[[nodiscard]] std::string hash_file(const std::filesystem::path& path);
[[nodiscard]] std::string hash_bytes(const void* data, std::size_t size);

/// The same hash of bytes that come in pieces.
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(StreamHash&&) noexcept;
  StreamHash& operator=(StreamHash&&) noexcept;
  void update(std::span<const std::byte> bytes);
  [[nodiscard]] std::string digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Fields that go into a hash, each with its length in front so that no two lists collide.
class FieldHash {
 public:
  void add(const std::string& field) { text_ += std::to_string(field.size()) + ":" + field + ";"; }
  [[nodiscard]] std::string digest() const { return hash_bytes(text_.data(), text_.size()); }

 private:
  std::string text_;
};

/// Hashes a file while somebody reads it anyway, so that path_identity() need not read it
/// again.
class FileHasher {
 public:
  /// Takes down the file's size and times. Errors: kIo.
  explicit FileHasher(std::filesystem::path path);
  /// False where the hash is known already.
  [[nodiscard]] bool is_wanted() const { return is_wanted_; }
  /// The file's next bytes.
  void update(std::span<const std::byte> bytes);
  /// Remembers the hash, if that was the whole file and it has not changed meanwhile.
  void finish();

 private:
  std::filesystem::path path_;
  FileStamp stamp_;
  std::uint64_t hashed_ = 0;
  bool is_wanted_ = true;
  StreamHash hash_;
};

}  // namespace growmerge
