#include "data/tokenize.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/base/white_space.h"
#include "core/contracts/communicator.h"
#include "data/ordered_pool.h"
#include "data/positioned_file.h"
#include "data/token_shard.h"
#include "data/utf8.h"

namespace growmerge::data {
namespace {

namespace fs = std::filesystem;

// Long enough that handing out costs nothing, short enough that many ranks get equal shares.
constexpr std::size_t kChunkBytes = 1 << 18;
// Of the documents of a language that are skipped, so many are listed: enough to see what is wrong.
constexpr std::size_t kListedBadLines = 1000;

struct RawChunk {
  const TextInput* input = nullptr;
  const std::vector<fs::path>* files = nullptr;  // of the documents
  std::vector<RawDocument> documents;
};

/// The encoded documents of one chunk.
struct Chunk {
  std::vector<std::byte> tokens;
  std::vector<std::uint64_t> lengths;  // tokens of each document
  std::vector<std::uint32_t> bytes;    // of each document's text
  std::uint64_t characters = 0;
  std::uint64_t words = 0;
  std::uint64_t empty_documents = 0;
  std::vector<BadLine> bad_lines;  // skipped
};

/// What every rank must know of a chunk; sent as it lies in memory.
struct ChunkCounts {
  std::uint64_t chunk = 0;
  std::uint64_t tokens = 0;
  std::uint64_t documents = 0;
  std::uint64_t bytes = 0;
  std::uint64_t characters = 0;
  std::uint64_t words = 0;
  std::uint64_t empty_documents = 0;
  std::uint64_t bad_lines = 0;
};

/// A skipped document with the number of its chunk, by which those of all ranks are put in order.
using ListedBadLine = std::pair<std::uint64_t, BadLine>;

/// Nothing where the document cannot be read and `policy` skips it: then it is noted in the chunk.
std::optional<Document> parse_or_note(const RawDocument& raw, const RawChunk& from,
                                      const BadLinesConfig& policy, Chunk& chunk) {
  const fs::path& file = (*from.files)[raw.file];
  try {
    return parse_document(raw, *from.input, file);
  } catch (const Error& e) {
    if (!policy.skips() || (e.code() != ErrorCode::kCorrupt && e.code() != ErrorCode::kNotFound)) {
      throw;
    }
    chunk.bad_lines.push_back({file.string(), raw.line, e.what()});
    return std::nullopt;
  }
}

Chunk encode_chunk(const RawChunk& raw, const DocumentEncoder& encoder, const TokenShardInfo& info,
                   const BadLinesConfig& policy) {
  Chunk chunk;
  for (const RawDocument& document : raw.documents) {
    const std::optional<Document> parsed = parse_or_note(document, raw, policy, chunk);
    if (!parsed) {
      continue;
    }
    const std::string& text = parsed->text;
    if (text.empty()) {
      ++chunk.empty_documents;
      continue;
    }
    const std::vector<std::int32_t> tokens =
        with_context(parsed->id, [&] { return encoder.encode(text); });
    pack_tokens(tokens, info, chunk.tokens);
    chunk.lengths.push_back(tokens.size());
    chunk.bytes.push_back(static_cast<std::uint32_t>(text.size()));
    chunk.characters += count_code_points(text);
    chunk.words += static_cast<std::uint64_t>(growmerge::count_words(text));
  }
  return chunk;
}

/// Deals the text of one language out in chunks, the same ones on every rank.
class ChunkReader {
 public:
  ChunkReader(const TokenizeConfig& config, const std::string& language) {
    for (const TextInput& input : config.inputs) {
      if (input.language == language) {
        inputs_.push_back(&input);
        readers_.push_back(std::make_unique<RawReader>(input));
      }
    }
  }

  /// The next chunk; its documents are left out where `wanted` is false. False at the end.
  bool next(bool wanted, RawChunk& chunk) {
    chunk.documents.clear();
    for (; at_ < readers_.size(); ++at_) {
      chunk.input = inputs_[at_];
      RawReader& reader = *readers_[at_];
      chunk.files = &reader.files();
      std::size_t bytes = 0;
      while (bytes < kChunkBytes && reader.next(document_)) {
        bytes += document_.bytes.size() + 1;
        // Every rank reads all the text (which is quick) and encodes its share (which is not): no
        // rank need send text to another.
        if (wanted) {
          chunk.documents.push_back(std::move(document_));
          document_ = {};
        }
      }
      if (bytes > 0) {
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] std::int64_t total_bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& reader : readers_) {
      bytes += reader->total_bytes();
    }
    return static_cast<std::int64_t>(bytes);
  }
  [[nodiscard]] std::int64_t bytes_read() const {
    std::uint64_t bytes = 0;
    for (const auto& reader : readers_) {
      bytes += reader->bytes_read();
    }
    return static_cast<std::int64_t>(bytes);
  }

 private:
  std::vector<const TextInput*> inputs_;
  std::vector<std::unique_ptr<RawReader>> readers_;
  std::size_t at_ = 0;
  RawDocument document_;
};

/// This rank's encoded chunks of one language: tokens in a file, the rest in memory (12 bytes a
/// document).
class Spill {
 public:
  explicit Spill(const fs::path& path) : path_(path), file_(path, PositionedFile::Mode::kCreate) {}
  Spill(const Spill&) = delete;
  Spill& operator=(const Spill&) = delete;
  ~Spill() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }

  void add(std::uint64_t number, const Chunk& chunk, std::size_t token_bytes) {
    ChunkCounts counts{.chunk = number,
                       .characters = chunk.characters,
                       .words = chunk.words,
                       .empty_documents = chunk.empty_documents,
                       .bad_lines = chunk.bad_lines.size()};
    counts.tokens = chunk.tokens.size() / token_bytes;
    counts.documents = chunk.lengths.size();
    for (const std::uint32_t bytes : chunk.bytes) {
      counts.bytes += bytes;
    }
    file_.write_at(spilled_, chunk.tokens.data(), chunk.tokens.size());
    spilled_ += chunk.tokens.size();
    lengths_.insert(lengths_.end(), chunk.lengths.begin(), chunk.lengths.end());
    bytes_.insert(bytes_.end(), chunk.bytes.begin(), chunk.bytes.end());
    counts_.push_back(counts);
    for (const BadLine& line : chunk.bad_lines) {
      // The first of all ranks are among the first of each.
      if (bad_lines_.size() < kListedBadLines) {
        bad_lines_.emplace_back(number, line);
      }
    }
  }

  [[nodiscard]] const std::vector<ChunkCounts>& counts() const { return counts_; }
  [[nodiscard]] const std::vector<ListedBadLine>& bad_lines() const { return bad_lines_; }

  /// Copies this rank's chunks to their places; `all` are the chunks of all ranks in order.
  void place(const std::vector<ChunkCounts>& all, const fs::path& shard,
             const TokenShardLayout& layout, std::size_t token_bytes) {
    PositionedFile out(shard, PositionedFile::Mode::kUpdate);
    std::vector<std::byte> buffer;
    std::vector<std::uint64_t> ends;
    std::uint64_t token = 0;  // of the shard, where the chunk begins
    std::uint64_t document = 0;
    std::uint64_t spilled = 0;
    std::size_t own_document = 0;
    auto own = counts_.begin();
    for (const ChunkCounts& counts : all) {
      if (own != counts_.end() && own->chunk == counts.chunk) {
        // Ranks write disjoint ranges, so nobody waits for anybody.
        buffer.resize(counts.tokens * token_bytes);
        file_.read_at(spilled, buffer.data(), buffer.size());
        spilled += buffer.size();
        out.write_at(layout.tokens + token * token_bytes, buffer.data(), buffer.size());
        ends.assign(1, token);
        for (std::uint64_t i = 0; i < counts.documents; ++i) {
          ends.push_back(ends.back() + lengths_[own_document + i]);
        }
        // Each chunk writes the starts of its documents and the end of its last one.
        out.write_at(layout.document_offsets + document * sizeof(std::uint64_t), ends.data(),
                     ends.size() * sizeof(std::uint64_t));
        out.write_at(layout.document_bytes + document * sizeof(std::uint32_t),
                     bytes_.data() + own_document, counts.documents * sizeof(std::uint32_t));
        own_document += counts.documents;
        ++own;
      }
      token += counts.tokens;
      document += counts.documents;
    }
    out.close();
  }

 private:
  fs::path path_;
  PositionedFile file_;
  std::uint64_t spilled_ = 0;
  std::vector<std::uint64_t> lengths_;
  std::vector<std::uint32_t> bytes_;
  std::vector<ChunkCounts> counts_;
  std::vector<ListedBadLine> bad_lines_;
};

std::vector<ChunkCounts> gather_counts(const std::vector<ChunkCounts>& own, Communicator& comm) {
  const std::string bytes(reinterpret_cast<const char*>(own.data()),
                          own.size() * sizeof(ChunkCounts));
  std::vector<ChunkCounts> all;
  for (const std::string& part : comm.all_gather_bytes(bytes)) {
    if (part.empty()) {
      continue;  // fewer chunks than ranks
    }
    const std::size_t first = all.size();
    all.resize(first + part.size() / sizeof(ChunkCounts));
    std::memcpy(all.data() + first, part.data(), part.size());
  }
  // Chunks were dealt out in turn; the shard has the order of the text on any number of ranks.
  std::sort(all.begin(), all.end(),
            [](const ChunkCounts& a, const ChunkCounts& b) { return a.chunk < b.chunk; });
  return all;
}

/// The first skipped documents of all ranks, in the order of the text. Collective.
std::vector<BadLine> gather_bad_lines(const std::vector<ListedBadLine>& own, Communicator& comm) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [chunk, line] : own) {
    list.push_back({chunk, line.file, line.line, line.reason});
  }
  // Names and reasons may be any bytes; ranks hand them on as they are.
  const std::vector<std::uint8_t> packed = nlohmann::json::to_msgpack(list);
  std::vector<ListedBadLine> all;
  for (const std::string& part : comm.all_gather_bytes({packed.begin(), packed.end()})) {
    for (const nlohmann::json& entry : nlohmann::json::from_msgpack(part)) {
      all.emplace_back(entry[0].get<std::uint64_t>(),
                       BadLine{entry[1].get<std::string>(), entry[2].get<std::uint64_t>(),
                               entry[3].get<std::string>()});
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<BadLine> lines;
  for (ListedBadLine& entry : all) {
    if (lines.size() < kListedBadLines) {
      lines.push_back(std::move(entry.second));
    }
  }
  return lines;
}

int num_threads(int asked, const Communicator& comm) {
  if (asked > 0) {
    return asked;
  }
  // The cores this process may use (std::thread::hardware_concurrency() counts all there are with
  // some C libraries); ranks that are not bound to cores of their own share them.
  cpu_set_t cores;
  CPU_ZERO(&cores);
  const int count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
  return std::max(1, count / comm.local_size());
}

void encode_own_chunks(ChunkReader& reader, const DocumentEncoder& encoder,
                       const TokenShardInfo& info, const BadLinesConfig& policy, Communicator& comm,
                       int threads, Spill& spill) {
  Progress progress(info.language, reader.total_bytes(), "bytes", comm.is_root());
  OrderedPool<Chunk> pool(threads);
  // The pool gives results back in the order of the tasks: rank, rank + size, ...
  std::uint64_t taken = static_cast<std::uint64_t>(comm.rank());
  const auto size = static_cast<std::uint64_t>(comm.size());
  const auto take = [&] {
    spill.add(taken, pool.take(), info.token_bytes());
    taken += size;
  };
  for (std::uint64_t number = 0;; ++number) {
    const bool wanted = number % size == static_cast<std::uint64_t>(comm.rank());
    RawChunk raw;
    if (!reader.next(wanted, raw)) {
      break;
    }
    if (wanted) {
      pool.put([raw = std::move(raw), &encoder, &info, &policy] {
        return encode_chunk(raw, encoder, info, policy);
      });
      if (pool.full()) {
        take();
      }
    }
    progress.update(reader.bytes_read());
  }
  while (!pool.empty()) {
    take();
  }
  progress.finish();
}

/// Says and lists what was skipped, or refuses: too much of it is no bad line but a wrong file.
/// Collective.
void report_bad_lines(const BadLinesConfig& policy, const LanguageCounts& counts,
                      const std::vector<BadLine>& lines, const fs::path& dir, Communicator& comm) {
  const std::uint64_t bad = counts.skipped_documents;
  const std::uint64_t documents = counts.documents + counts.empty_documents + bad;
  if (bad == 0) {
    return;
  }
  const std::string text = describe_bad_lines(bad, documents, lines);
  run_agreed(comm, [&] {
    GM_CHECK(bad <= policy.most_of(documents), kCorrupt, "language '", counts.language, "': ", text,
             " (bad_lines.limit is ", policy.limit, ")");
    if (!comm.is_root()) {
      return;
    }
    const std::string list = counts.language + ".skipped.jsonl";
    log_warning(concat("language '", counts.language, "': ", text, "; skipped, ", list,
                       " lists the first ", lines.size()));
    write_file_atomically(dir / list, to_json_lines(lines));
  });
}

LanguageCounts tokenize_language(const TokenizeConfig& config, const DocumentEncoder& encoder,
                                 TokenShardInfo info, const fs::path& dir, Communicator& comm,
                                 int threads) {
  std::unique_ptr<Spill> spill;
  run_agreed(comm, [&] {
    spill = std::make_unique<Spill>(dir / concat(info.language, ".rank-", comm.rank(), ".spill"));
    ChunkReader reader(config, info.language);
    encode_own_chunks(reader, encoder, info, config.bad_lines, comm, threads, *spill);
  });
  // Counts come first: a shard's data sets are made with their final size.
  const std::vector<ChunkCounts> all = gather_counts(spill->counts(), comm);
  LanguageCounts counts{.language = info.language};
  for (const ChunkCounts& chunk : all) {
    counts.documents += chunk.documents;
    counts.tokens += chunk.tokens;
    counts.bytes += chunk.bytes;
    counts.characters += chunk.characters;
    counts.words += chunk.words;
    counts.empty_documents += chunk.empty_documents;
    counts.skipped_documents += chunk.bad_lines;
  }
  report_bad_lines(config.bad_lines, counts, gather_bad_lines(spill->bad_lines(), comm), dir, comm);
  info.num_documents = counts.documents;
  info.num_tokens = counts.tokens;
  info.num_bytes = counts.bytes;
  info.num_characters = counts.characters;

  const fs::path path = dir / (info.language + ".h5");
  TokenShardLayout layout;
  run_agreed(comm, [&] {
    GM_CHECK(counts.documents > 0, kInvalidArgument, "language '", info.language,
             "': its inputs hold no text (", counts.empty_documents, " empty documents)");
    if (comm.is_root()) {
      layout = create_token_shard(path, info);
    }
  });
  // Offsets depend on the HDF5 library; all ranks take those of rank 0's file.
  std::string bytes(reinterpret_cast<const char*>(&layout), sizeof(layout));
  comm.broadcast_bytes(bytes, 0);
  std::memcpy(&layout, bytes.data(), sizeof(layout));
  run_agreed(comm, [&] { spill->place(all, path, layout, info.token_bytes()); });
  run_agreed(comm, [&] {
    if (comm.is_root()) {
      seal_token_shard(path);
    }
  });
  return counts;
}

void write_summary(const TokenizeSummary& summary, const DocumentEncoder& encoder,
                   const fs::path& dir) {
  nlohmann::ordered_json json;
  json["tokenizer_hash"] = encoder.tokenizer_hash;
  json["vocab_size"] = summary.vocab_size;
  json["bos_token_id"] = summary.bos_id;
  json["eos_token_id"] = summary.eos_id;
  json["document"] = summary.bos_id >= 0 ? "BOS tokens EOS" : "tokens EOS";
  for (const LanguageCounts& counts : summary.languages) {
    nlohmann::ordered_json& entry = json["languages"][counts.language];
    entry["shard"] = counts.language + ".h5";
    entry["documents"] = counts.documents;
    entry["tokens"] = counts.tokens;
    entry["bytes"] = counts.bytes;
    entry["characters"] = counts.characters;
    entry["words"] = counts.words;
    entry["bytes_per_token"] =
        static_cast<double>(counts.bytes) / static_cast<double>(counts.tokens);
    entry["empty_documents"] = counts.empty_documents;
    entry["skipped_documents"] = counts.skipped_documents;
  }
  const std::string text = json.dump(2) + "\n";
  PositionedFile file(dir / "summary.json", PositionedFile::Mode::kCreate);
  file.write_at(0, text.data(), text.size());
  file.close();
}

/// Languages of the config, in order of first appearance.
std::vector<std::string> languages_of(const TokenizeConfig& config) {
  std::vector<std::string> languages;
  for (const TextInput& input : config.inputs) {
    if (std::find(languages.begin(), languages.end(), input.language) == languages.end()) {
      languages.push_back(input.language);
    }
  }
  return languages;
}

}  // namespace

void TokenizeConfig::validate() const {
  GM_CHECK(!inputs.empty(), kInvalidArgument, "inputs: nothing to tokenize is named");
  GM_CHECK(!tokenizer.empty(), kInvalidArgument, "tokenizer: not named");
  bad_lines.validate();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const TextInput& input = inputs[i];
    GM_CHECK(!input.path.empty(), kInvalidArgument, "inputs.", i, ": path is missing");
    const bool good = !input.language.empty() &&
                      std::all_of(input.language.begin(), input.language.end(), [](char c) {
                        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                               (c >= '0' && c <= '9') || c == '-' || c == '_';
                      });
    GM_CHECK(good, kInvalidArgument, "inputs.", i, " (", input.path, "): language '",
             input.language, "' must be letters, digits, - and _ (it names a file)");
  }
}

TokenizePlan plan_tokenize(const TokenizeConfig& config) {
  config.validate();
  TokenizePlan plan;
  for (const TextInput& input : config.inputs) {
    for (const fs::path& path : expand_input(input.path)) {
      plan.files.push_back({input.language, path, fs::file_size(path)});
    }
  }
  return plan;
}

TokenizeSummary tokenize_text(const TokenizeConfig& config, const DocumentEncoder& encoder,
                              const fs::path& dir, Communicator& comm, int threads) {
  run_agreed(comm, [&] {
    for (const TextInput& input : config.inputs) {
      (void)expand_input(input.path);  // what is missing is said before work starts
    }
  });
  TokenizeSummary summary{.languages = {},
                          .vocab_size = encoder.vocab_size,
                          .bos_id = encoder.bos_id,
                          .eos_id = encoder.eos_id};
  for (const std::string& language : languages_of(config)) {
    TokenShardInfo info;
    info.language = language;
    info.tokenizer_hash = encoder.tokenizer_hash;
    info.vocab_size = encoder.vocab_size;
    info.bos_id = encoder.bos_id;
    info.eos_id = encoder.eos_id;
    for (const TextInput& input : config.inputs) {
      if (input.language == language) {
        info.sources += (info.sources.empty() ? "" : "\n") + input.path;
      }
    }
    summary.languages.push_back(
        tokenize_language(config, encoder, info, dir, comm, num_threads(threads, comm)));
  }
  run_agreed(comm, [&] {
    if (comm.is_root()) {
      write_summary(summary, encoder, dir);
    }
  });
  return summary;
}

}  // namespace growmerge::data
