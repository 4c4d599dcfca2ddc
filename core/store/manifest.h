// What makes a directory a finished stage: manifest.json, written last, and one rename.
//
// A stage writes into NAME.tmp, then finish() writes manifest.json there, syncs, and renames
// NAME.tmp to NAME. A directory without manifest.json is an outside one (a Hugging Face model, a
// folder of text): its identity is its files' hashes. Hashes are XXH3-128 in hexadecimal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace growmerge {

inline constexpr const char* kManifestName = "manifest.json";

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
  /// Of how identities are made: a stage of another one counts as made from other settings.
  static constexpr int kIdentityVersion = 2;
  std::string stage;  // "tokenize", "train", "upscale", "merge", "stats", "eval", "tokenizer"
  std::string growmerge_version;  // filled by finish()
  std::string git_hash;           // filled by finish()
  /// The fields of the resolved config that count in the identity, a line "key: value" each, with
  /// an input's path as "<role>".
  std::string config;
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
  int identity_version = kIdentityVersion;
  std::vector<FileRecord> files;  // filled by finish()
};

[[nodiscard]] std::optional<Manifest> read_manifest(const std::filesystem::path& dir);
/// What is not as the manifest of `dir` says, of the files that it lists (there, size, hash), or
/// weights, shards or a tokenizer that it does not list; empty where all is. Hashes are cached.
/// Errors: kIo.
[[nodiscard]] std::string file_fault(const std::filesystem::path& dir, const Manifest& manifest);
/// read_manifest(), believed only where the directory's files are what it says. Errors: kCorrupt
/// naming the first file that is not, and what to do.
[[nodiscard]] std::optional<Manifest> believed_manifest(const std::filesystem::path& dir);
/// Writes it atomically into dir, as it is. Errors: kIo.
void write_manifest(const std::filesystem::path& dir, const Manifest& manifest);
/// Identity that a stage will have, before it runs; `run` compares it with what is there. The order
/// of the config's fields does not count.
[[nodiscard]] std::string stage_identity(const Manifest& manifest);
/// The lines of Manifest::config, a field each.
[[nodiscard]] std::vector<std::string> config_fields(const std::string& config);
/// A finished stage's identity from its believed_manifest(), else the hash over an outside file's
/// or directory's contents (hashes are cached, see set_hash_cache). Errors: kNotFound; kMismatch
/// when `path` is an unfinished NAME.tmp; kCorrupt where a manifest is not to be believed.
[[nodiscard]] std::string path_identity(const std::filesystem::path& path);
/// The errors of path_identity(), without reading what must be hashed.
void check_has_identity(const std::filesystem::path& path);

/// Checks every file of a finished directory against its manifest. Errors: kCorrupt naming the
/// first bad file.
void verify_directory(const std::filesystem::path& dir);

}  // namespace growmerge
