// The part of data/tokenize.h that knows the tokenizer.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/contracts/communicator.h"
#include "core/tokenizer/tokenizer.h"
#include "data/tokenize.h"

namespace growmerge::data {
namespace {

namespace fs = std::filesystem;

/// Users name either the model's folder or its tokenizer.json.
fs::path directory_of(const fs::path& tokenizer) {
  std::error_code ignored;
  return fs::is_directory(tokenizer, ignored) ? tokenizer : tokenizer.parent_path();
}

/// null where there is no such file: which of them exist differs from model to model.
nlohmann::json read_json(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    return nullptr;
  }
  try {
    return nlohmann::json::parse(read_json_text(path));
  } catch (const nlohmann::json::exception& e) {
    fail(ErrorCode::kCorrupt, path.string(), ": bad JSON: ", e.what());
  }
}

void copy_writable(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
  GM_CHECK(!error, kIo, to.string(), ": cannot copy ", from.string(), ": ", error.message());
  // A copy of a read-only file could not be replaced later.
  fs::permissions(to, fs::perms::owner_write, fs::perm_options::add, error);
}

std::int64_t id_of(const Tokenizer& tokenizer, const std::string& token, const std::string& where) {
  const std::optional<std::int32_t> id = tokenizer.token_to_id(token);
  GM_CHECK(id.has_value(), kNotFound, where, ": the end-of-document token '", token,
           "' is not in the tokenizer's vocabulary");
  return *id;
}

}  // namespace

std::int64_t find_eos_id(const Tokenizer& tokenizer, const fs::path& path,
                         const std::optional<std::string>& eos_token) {
  if (eos_token) {
    return id_of(tokenizer, *eos_token, "eos_token");
  }
  const fs::path dir = directory_of(path);
  const nlohmann::json named = read_json(dir / "tokenizer_config.json");
  if (named.is_object() && named.contains("eos_token")) {
    // Either the token's text or an added-token record.
    const nlohmann::json& eos = named["eos_token"];
    const nlohmann::json& text = eos.is_object() && eos.contains("content") ? eos["content"] : eos;
    if (text.is_string()) {
      return id_of(tokenizer, text.get<std::string>(), (dir / "tokenizer_config.json").string());
    }
  }
  for (const char* name : {"generation_config.json", "config.json"}) {
    const nlohmann::json config = read_json(dir / name);
    if (!config.is_object() || !config.contains("eos_token_id")) {
      continue;
    }
    // Some models list several; the first ends a text.
    const nlohmann::json& listed = config["eos_token_id"];
    const nlohmann::json& id = listed.is_array() && !listed.empty() ? listed[0] : listed;
    if (id.is_number_integer()) {
      GM_CHECK(id >= 0 && id < tokenizer.vocab_size(), kMismatch, (dir / name).string(),
               ": eos_token_id ", id.dump(), " is outside the tokenizer's vocabulary of ",
               tokenizer.vocab_size());
      return id.get<std::int64_t>();
    }
  }
  fail(
      ErrorCode::kNotFound, path.string(),
      ": no end-of-document token: neither tokenizer_config.json (eos_token) nor "
      "generation_config.json or config.json (eos_token_id) beside it names one; give `eos_token`");
}

DocumentEncoder make_document_encoder(const Tokenizer& tokenizer, std::int64_t eos_id) {
  // What the post-processor puts around a text is seen on one that is too short to merge with it.
  const std::vector<std::int32_t> bare = tokenizer.encode("a", false);
  const std::vector<std::int32_t> whole = tokenizer.encode("a", true);
  const auto found = std::search(whole.begin(), whole.end(), bare.begin(), bare.end());
  GM_CHECK(found != whole.end(), kUnsupported,
           "the tokenizer's post-processor changes the tokens of the text itself");
  const auto behind = whole.end() - found - static_cast<std::ptrdiff_t>(bare.size());
  GM_CHECK(behind == 0 || (behind == 1 && whole.back() == eos_id), kUnsupported,
           "the tokenizer's post-processor adds token ", whole.back(),
           " behind the text, expected nothing or the end-of-document token ", eos_id);
  DocumentEncoder encoder;
  encoder.vocab_size = tokenizer.vocab_size();
  encoder.bos_id = found == whole.begin() ? -1 : whole.front();
  encoder.eos_id = eos_id;
  encoder.tokenizer_hash = tokenizer.hash();
  encoder.encode = [&tokenizer, eos_id, add_eos = behind == 0](std::string_view text) {
    std::vector<std::int32_t> tokens = tokenizer.encode(text, true);
    if (add_eos) {
      tokens.push_back(static_cast<std::int32_t>(eos_id));
    }
    return tokens;
  };
  return encoder;
}

TokenizeSummary tokenize(const TokenizeConfig& config, const fs::path& dir, Communicator& comm,
                         int threads) {
  std::optional<Tokenizer> tokenizer;
  DocumentEncoder encoder;
  run_agreed(comm, [&] {
    config.validate();
    tokenizer.emplace(Tokenizer::load(config.tokenizer));
    encoder = make_document_encoder(*tokenizer,
                                    find_eos_id(*tokenizer, config.tokenizer, config.eos_token));
    if (!comm.is_root()) {
      return;
    }
    const fs::path from = directory_of(config.tokenizer);
    copy_writable(
        fs::is_directory(config.tokenizer) ? from / "tokenizer.json" : fs::path(config.tokenizer),
        dir / "tokenizer.json");
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
      if (fs::exists(from / name)) {
        copy_writable(from / name, dir / name);
      }
    }
    // Whoever goes on from the shards must not be told again.
    if (config.eos_token && !fs::exists(dir / "tokenizer_config.json")) {
      write_file_atomically(dir / "tokenizer_config.json",
                            nlohmann::json{{"eos_token", *config.eos_token}}.dump(2) + "\n");
    }
  });
  return tokenize_text(config, encoder, dir, comm, threads);
}

}  // namespace growmerge::data
