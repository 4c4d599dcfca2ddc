// Text to token shards, on all ranks: the work of `growmerge tokenize`.
//
// The output directory holds, for each language, LANG.h5 (data/token_shard.h); the tokenizer's
// files; summary.json with the counts; and, where documents were skipped, LANG.skipped.jsonl with
// the first of them. Documents stand in input order: inputs in the order of the config, files in
// byte order of their paths. Every byte written is the same for any number of ranks and threads.
//
// Method: every rank reads all text, cuts it into chunks of about 256 KiB, and parses and encodes
// every size-th chunk on its threads, into a spill file of its own. Then rank 0 lays each shard out
// at its final size and all ranks copy their chunks to their places. Needs twice the shards' space
// on a file system that all ranks share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/bad_lines.h"
#include "data/document_reader.h"

namespace growmerge {
class Communicator;
class Tokenizer;
}  // namespace growmerge

namespace growmerge::data {

struct TokenizeConfig {
  std::vector<TextInput> inputs;
  std::string tokenizer;
  std::optional<std::string> eos_token;
  BadLinesConfig bad_lines;

  template <class V>
  void describe(V& v) {
    v("inputs", inputs, "", "what is read; inputs of one language become one shard");
    v("tokenizer", tokenizer, "", "a tokenizer.json, or a directory that holds one", v.kInput);
    v("eos_token", eos_token, "",
      "token that ends a document; default: what tokenizer_config.json, generation_config.json or "
      "config.json beside the tokenizer names");
    v("bad_lines", bad_lines, "", "documents that cannot be read");
  }
  /// Errors: kInvalidArgument naming the input.
  void validate() const;
};

/// How text becomes the tokens of a document.
struct DocumentEncoder {
  /// Whole documents, BOS and EOS included. Thread-safe.
  std::function<std::vector<std::int32_t>(std::string_view)> encode;
  std::int64_t vocab_size = 0;
  std::int64_t bos_id = -1;  // -1 where documents start without one
  std::int64_t eos_id = 0;
  std::string tokenizer_hash;
};

struct LanguageCounts {
  std::string language;
  std::uint64_t documents = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  std::uint64_t characters = 0;
  std::uint64_t words = 0;              // between white space (core/base/white_space.h)
  std::uint64_t empty_documents = 0;    // left out
  std::uint64_t skipped_documents = 0;  // could not be read
};

struct TokenizeSummary {
  std::vector<LanguageCounts> languages;  // in order of first appearance in the config
  std::int64_t vocab_size = 0;
  std::int64_t bos_id = -1;
  std::int64_t eos_id = 0;
};

/// The id of the token that ends documents. Errors: kNotFound saying where it was looked for.
[[nodiscard]] std::int64_t find_eos_id(const Tokenizer& tokenizer,
                                       const std::filesystem::path& path,
                                       const std::optional<std::string>& eos_token);

/// An encoder for documents: what the tokenizer's post-processor puts in front (BOS), tokens, EOS
/// once. `tokenizer` must outlive it. Errors: kUnsupported when the post-processor adds something
/// else behind the text.
[[nodiscard]] DocumentEncoder make_document_encoder(const Tokenizer& tokenizer,
                                                    std::int64_t eos_id);

/// What will be read, for --dry-run.
struct TokenizePlan {
  struct File {
    std::string language;
    std::filesystem::path path;
    std::uint64_t bytes = 0;
  };
  std::vector<File> files;
};
[[nodiscard]] TokenizePlan plan_tokenize(const TokenizeConfig& config);

/// Collective. Writes the shards and summary.json into `dir`, which exists and is empty of them.
/// `threads` per rank, 0 takes this rank's part of the machine's cores. Errors: those of reading
/// and encoding, agreed by all ranks; kInvalidArgument when a language has no document; kCorrupt
/// when more documents than config.bad_lines allows cannot be read.
TokenizeSummary tokenize_text(const TokenizeConfig& config, const DocumentEncoder& encoder,
                              const std::filesystem::path& dir, Communicator& comm,
                              int threads = 0);

/// Collective. The same from config.tokenizer, whose files are copied into `dir`.
TokenizeSummary tokenize(const TokenizeConfig& config, const std::filesystem::path& dir,
                         Communicator& comm, int threads = 0);

}  // namespace growmerge::data
