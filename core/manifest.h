// What makes a directory a finished stage: manifest.json, written last, and one rename.
//
// A stage writes into NAME.tmp, then finish() writes manifest.json there, syncs, and renames
// NAME.tmp to NAME. A directory without manifest.json is an outside one (a Hugging Face model, a
// folder of text): its identity is its files' hashes. Hashes are XXH3-128 in hexadecimal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace growmerge {

struct FileRecord {
  std::string path;  // relative to the directory
  std::uint64_t bytes = 0;
  std::string hash;
};

struct InputRecord {
  std::string role;  // "model", "data", "base", ...
  std::string path;  // as given
  std::string identity;
};

struct Manifest {
  static constexpr int kVersion = 1;
  std::string stage;  // "tokenize", "train", "upscale", "merge", "stats", "eval", "tokenizer"
  std::string growmerge_version;  // filled by finish()
  std::string git_hash;           // filled by finish()
  std::string config;             // resolved config as YAML text
  std::vector<InputRecord> inputs;
  std::uint64_t seed = 0;
  int world_size = 1;        // for the record; not part of the identity
  double flops = 0.0;        // spent by this stage
  double flops_total = 0.0;  // since the base was born, this stage included
  double flops_sunk =
      0.0;  // part of flops_total that was spent before the last growth (or before the first stage)
  std::int64_t tokens = 0;
  std::int64_t tokens_total = 0;
  std::map<std::string, std::string>
      notes;             // stage-specific facts, e.g. "grown_from", "continued_from"
  std::string identity;  // filled by finish(): hash of (stage, config, seed, inputs' identities)
  std::vector<FileRecord> files;  // filled by finish()
};

[[nodiscard]] std::optional<Manifest> read_manifest(const std::filesystem::path& dir);
/// Identity that a stage will have, before it runs; `run` compares it with what is there.
[[nodiscard]] std::string stage_identity(const Manifest& manifest);
/// A finished stage's identity from its manifest, else the hash over an outside file's or
/// directory's contents (hashes are cached by path, size and modification time in the user's cache
/// folder, see set_hash_cache). Errors: kNotFound; kMismatch when `path` is an unfinished NAME.tmp.
[[nodiscard]] std::string path_identity(const std::filesystem::path& path);
/// The errors of path_identity(), without reading what must be hashed.
void check_has_identity(const std::filesystem::path& path);

/// Where hashes of outside files are cached; empty (the default) caches nothing. launch sets it.
void set_hash_cache(const std::filesystem::path& file);

/// Checks every file of a finished directory against its manifest. Errors: kCorrupt naming the
/// first bad file.
void verify_directory(const std::filesystem::path& dir);

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

/// Hashes an outside file while somebody reads it anyway, so that path_identity() need not read it
/// again.
class FileHasher {
 public:
  /// Takes down the file's size and time. Errors: kIo.
  explicit FileHasher(std::filesystem::path path);
  /// False where the hash is known already.
  [[nodiscard]] bool is_wanted() const { return is_wanted_; }
  /// The file's next bytes.
  void update(std::span<const std::byte> bytes);
  /// Remembers the hash, if that was the whole file and it has not changed meanwhile.
  void finish();

 private:
  std::filesystem::path path_;
  std::uint64_t bytes_ = 0;  // of the file
  std::int64_t modified_ns_ = 0;
  std::uint64_t hashed_ = 0;
  bool is_wanted_ = true;
  StreamHash hash_;
};

/// The output directory of a stage.
class StageOutput {
 public:
  /// Makes NAME.tmp (keeps what is there when keep_partial) and holds a lock on NAME.tmp/.lock
  /// while this lives, where the file system has locks. Errors: kInvalidArgument when NAME exists
  /// already, or when another process is writing it (named with its host).
  explicit StageOutput(std::filesystem::path name, bool keep_partial = false);
  ~StageOutput();
  StageOutput(const StageOutput&) = delete;
  StageOutput& operator=(const StageOutput&) = delete;
  /// Where to write: NAME.tmp.
  [[nodiscard]] const std::filesystem::path& dir() const { return tmp_; }
  /// Hashes the files that are not recorded yet, writes manifest.json, syncs everything, renames.
  /// Only one rank calls it. Errors: kInvalidArgument when NAME.tmp was replaced meanwhile.
  void finish(Manifest manifest);
  /// A file whose hash was computed while writing.
  void record_file(FileRecord record);

 private:
  std::filesystem::path name_;
  std::filesystem::path tmp_;
  std::vector<FileRecord> recorded_;
  int lock_ = -1;
};

/// Removes NAME.tmp, if it is there. Errors: kInvalidArgument when another process is writing it.
void discard_unfinished(const std::filesystem::path& name);

/// fsync of a file or directory. Errors: kIo.
void sync_path(const std::filesystem::path& path);
/// Writes a small file atomically: temporary name, sync, rename. Errors: kIo.
void write_file_atomically(const std::filesystem::path& path, const std::string& text);
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

[[nodiscard]] std::string growmerge_version();
[[nodiscard]] std::string git_hash();

}  // namespace growmerge
