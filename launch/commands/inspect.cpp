// growmerge inspect: what a checkpoint, shard, tokenizer, manifest or result directory is.
#include <algorithm>
#include <cstdio>
#include <map>

#include "core/base/error.h"
#include "core/base/format.h"
#include "core/base/log.h"
#include "core/model/checkpoint.h"
#include "core/model/families.h"
#include "core/model/model_config_keys.h"
#include "core/store/hub_cache.h"
#include "core/store/manifest.h"
#include "core/store/safetensors.h"
#include "core/tokenizer/tokenizer.h"
#include "data/mixture.h"
#include "data/token_shard.h"
#include "eval/evaluate.h"
#include "eval/results.h"
#include "launch/commands/commands.h"
#include "launch/dry_run.h"
#include "launch/hub_inputs.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

/// Names in one column, so that shapes can be compared down the page.
void print_tensors(const std::vector<TensorInfo>& tensors) {
  std::size_t width = 4;
  for (const TensorInfo& info : tensors) {
    width = std::max(width, info.name.size());
  }
  for (const TensorInfo& info : tensors) {
    std::printf("  %-*s  %-5s %s\n", static_cast<int>(width), info.name.c_str(),
                safetensors_dtype_name(info.dtype).c_str(), shape_text(info.shape).c_str());
  }
}

/// What the stage says of itself: where it came from and what it has cost.
void print_manifest(const Manifest& manifest) {
  std::printf("stage        %s (growmerge %s, %s)\nidentity     %s\n", manifest.stage.c_str(),
              manifest.growmerge_version.c_str(), manifest.git_hash.c_str(),
              manifest.identity.c_str());
  if (manifest.flops_total > 0.0) {
    std::printf(
        "FLOPs        %s by this stage, %s since the base was born, of which %s before the "
        "last growth\n",
        format_flops(manifest.flops).c_str(), format_flops(manifest.flops_total).c_str(),
        format_flops(manifest.flops_sunk).c_str());
    std::printf("tokens       %s by this stage, %s in all\n", format_count(manifest.tokens).c_str(),
                format_count(manifest.tokens_total).c_str());
  }
  std::printf("made on      %d rank(s), seed %llu\n", manifest.world_size,
              static_cast<unsigned long long>(manifest.seed));
  for (const InputRecord& input : manifest.inputs) {
    std::printf("input        %s: %s (%s)\n", input.role.c_str(), input.path.c_str(),
                input.identity.c_str());
  }
  for (const auto& [name, value] : manifest.notes) {
    std::printf("note         %s: %s\n", name.c_str(), value.c_str());
  }
  double bytes = 0.0;
  for (const FileRecord& file : manifest.files) {
    bytes += static_cast<double>(file.bytes);
  }
  std::printf("files        %zu, %s\n", manifest.files.size(), format_bytes(bytes).c_str());
}

/// "default, rope_theta 10000": every described number of one RoPE.
std::string rope_text(const ModelConfig& config, const std::string& key) {
  ModelConfig described = config;
  std::string out;
  for (const DescribedField& field : list_fields([&](FieldVisitor& v) { described.describe(v); })) {
    if (!field.key.starts_with(key + ".") || field.value == "null") {
      continue;
    }
    const std::string name = field.key.substr(key.size() + 1);
    out += out.empty() ? field.value : ", " + name + " " + field.value;
  }
  return out;
}

/// Layers for which `holds`, as "all layers" or "layers 0, 3, 5"; empty where there is none.
template <class Fn>
std::string layers_text(const ModelConfig& config, Fn&& holds) {
  std::string list;
  std::int64_t count = 0;
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (holds(layer)) {
      list += concat(list.empty() ? "" : ", ", layer);
      ++count;
    }
  }
  return count == config.num_layers ? "all layers" : count == 0 ? "" : "layers " + list;
}

/// What decides the computation beside the shape.
void print_computation(const ModelConfig& c) {
  std::printf("RoPE         %s\n", rope_text(c, "rope_parameters").c_str());
  if (family_of(c).has_local_rope) {
    std::printf("             layers with a window: %s\n",
                rope_text(c, "local_rope_parameters").c_str());
  }
  if (c.rotary_dim() != c.head_dim) {
    std::printf("             of the first %lld elements of a head\n",
                static_cast<long long>(c.rotary_dim()));
  }
  const std::string without =
      layers_text(c, [&](std::int64_t layer) { return !c.uses_rope(layer); });
  if (!without.empty()) {
    std::printf("             none in %s\n", without.c_str());
  }
  const std::string windows =
      layers_text(c, [&](std::int64_t layer) { return c.window_of(layer) > 0; });
  std::printf("attention    %s, scores times %.6g%s\n",
              windows.empty()
                  ? "of all earlier tokens"
                  : concat("window of ", c.sliding_window.value_or(0), " in ", windows).c_str(),
              c.attention_scale(),
              c.attn_logit_softcapping ? concat(", cap ", *c.attn_logit_softcapping).c_str() : "");
  std::printf(
      "computes     %s, RMSNorm eps %g%s%s\n", activation_name(c.activation), c.rms_norm_eps,
      c.head_divisor() == 1.0 ? "" : concat(", logits / ", c.head_divisor()).c_str(),
      c.final_logit_softcapping ? concat(", logits' cap ", *c.final_logit_softcapping).c_str()
                                : "");
  std::string ends;
  for (const std::int64_t id : c.eos_token_ids) {
    ends += concat(ends.empty() ? "" : ", ", id);
  }
  std::printf("tokens       BOS %s, EOS %s\n",
              c.bos_token_id ? std::to_string(*c.bos_token_id).c_str() : "none",
              ends.empty() ? "none" : ends.c_str());
}

/// A tokenizer beside a model whose ids the model has no rows for is another model's.
void print_vocabulary(const ModelConfig& c, const fs::path& tokenizer) {
  if (!fs::exists(tokenizer)) {
    return;
  }
  const std::int64_t tokens = Tokenizer::load(tokenizer).vocab_size();
  std::printf("vocabulary   %lld rows for the tokenizer's %lld tokens%s\n",
              static_cast<long long>(c.vocab_size), static_cast<long long>(tokens),
              tokens > c.vocab_size ? ": TOO FEW, is this another model's tokenizer?" : "");
}

void print_checkpoint(const fs::path& dir) {
  const CheckpointReader reader = CheckpointReader::open(dir);
  const ModelConfig& c = reader.config();
  const std::int64_t embeddings = c.vocab_size * c.hidden_size * (c.tie_word_embeddings ? 1 : 2);
  std::printf("model        %s, %s parameters (%s without embeddings), %s\n",
              c.architecture.c_str(), format_count(num_parameters(c)).c_str(),
              format_count(num_parameters(c) - embeddings).c_str(),
              dtype_name(reader.dtype()).c_str());
  std::printf(
      "shape        V %lld, d %lld, F %lld, L %lld, H %lld, K %lld, h %lld, context %lld, "
      "%s head\n",
      static_cast<long long>(c.vocab_size), static_cast<long long>(c.hidden_size),
      static_cast<long long>(c.intermediate_size), static_cast<long long>(c.num_layers),
      static_cast<long long>(c.num_heads), static_cast<long long>(c.num_kv_heads),
      static_cast<long long>(c.head_dim), static_cast<long long>(c.max_position_embeddings),
      c.tie_word_embeddings ? "tied" : "untied");
  print_computation(c);
  print_vocabulary(c, dir / "tokenizer.json");
  // Whoever inspects a foreign model wants to know what of it we would ignore.
  const std::string warning = config_warning(c.source_json, dir.string());
  if (!warning.empty()) {
    log_warning(warning);
  }
  print_tensors(reader.tensors());
}

/// The text itself is not there; what is known of it is.
void print_shard(const fs::path& path, bool verify) {
  const data::TokenShard shard = data::TokenShard::open(path);
  const data::TokenShardInfo& info = shard.info();
  std::printf(
      "token shard  %s: %s tokens, %s documents, %s of text (%.3f bytes a token), "
      "vocabulary %lld\n",
      info.language.c_str(), format_count(static_cast<std::int64_t>(info.num_tokens)).c_str(),
      format_count(static_cast<std::int64_t>(info.num_documents)).c_str(),
      format_bytes(static_cast<double>(info.num_bytes)).c_str(),
      static_cast<double>(info.num_bytes) / static_cast<double>(info.num_tokens),
      static_cast<long long>(info.vocab_size));
  std::printf("tokenizer    %s, BOS %lld, EOS %lld\nidentity     %s\n", info.tokenizer_hash.c_str(),
              static_cast<long long>(info.bos_id), static_cast<long long>(info.eos_id),
              shard.identity().c_str());
  if (verify) {
    shard.verify();
    std::printf("verified     every block and document of '%s'\n", path.c_str());
  }
}

void print_tokenizer(const fs::path& path) {
  const Tokenizer tokenizer = Tokenizer::load(path);
  std::printf("tokenizer    %s tokens, hash %s\n", format_count(tokenizer.vocab_size()).c_str(),
              tokenizer.hash().c_str());
}

/// By name: all of these have one, and reading a wrong file to the end would say less.
void inspect_file(const fs::path& path, bool verify) {
  const std::string extension = path.extension().string();
  if (extension == ".h5") {
    print_shard(path, verify);
  } else if (extension == ".safetensors") {
    const SafetensorsFile file = SafetensorsFile::open(path);
    std::printf("safetensors  %zu tensors, %s\n", file.tensors().size(),
                format_bytes(static_cast<double>(fs::file_size(path))).c_str());
    print_tensors(file.tensors());
  } else if (path.filename() == "tokenizer.json") {
    print_tokenizer(path);
  } else if (path.filename() == "manifest.json") {
    print_manifest(*read_manifest(path.parent_path()));
  } else {
    fail(ErrorCode::kUnsupported, "inspect: '", path.string(),
         "' is no directory, .h5 shard, .safetensors, tokenizer.json or manifest.json");
  }
}

void inspect_directory(const fs::path& dir, bool verify) {
  // A directory may be several of these at once: a finished stage that is a model with tokenizer.
  bool known = false;
  const auto manifest = read_manifest(dir);
  if (manifest) {
    print_manifest(*manifest);
    known = true;
  }
  if (fs::exists(dir / "config.json")) {
    print_checkpoint(dir);
    known = true;
  }
  if (fs::exists(dir / "tokenizer.json")) {
    print_tokenizer(dir / "tokenizer.json");
    known = true;
  }
  std::vector<fs::path> inside;
  for (const auto& entry : fs::directory_iterator(dir)) {
    inside.push_back(entry.path());
  }
  // The file system lists in any order.
  std::sort(inside.begin(), inside.end());
  for (const fs::path& path : inside) {
    if (path.extension() == ".h5") {
      print_shard(path, verify);
      known = true;
    } else if (fs::is_directory(path) && fs::exists(path / "results.json")) {
      std::printf("%s\n", eval::format_results(eval::read_results(path)).c_str());
      known = true;
    }
  }
  if (fs::exists(dir / "results.json")) {
    std::printf("%s\n", eval::format_results(eval::read_results(dir)).c_str());
    known = true;
  }
  GM_CHECK(known, kUnsupported, "inspect: '", dir.string(),
           "' holds no manifest, checkpoint, tokenizer, shard or results");
  if (verify) {
    // Without recorded hashes, reading it all is what can be checked.
    if (manifest) {
      verify_directory(dir);
      std::printf("verified     %zu files\n", manifest->files.size());
    } else if (fs::exists(dir / "config.json")) {
      (void)load_model(dir, CheckpointReader::open(dir).dtype());
      std::printf("verified     every tensor is finite (no manifest: no hashes to compare)\n");
    }
  }
}

/// Several paths are shown one after another; the first bad one ends it.
int inspect(const CommandLine& line) {
  GM_CHECK(!line.paths.empty(), kInvalidArgument, "'inspect' needs a path");
  // Options that would do nothing are refused, lest somebody thinks they did.
  GM_CHECK(
      line.out.empty() && line.config_path.empty() && line.overrides.empty() && !line.print_config,
      kInvalidArgument, "'inspect' prints and has no config: it takes paths and --verify");
  for (const std::string& given : line.paths) {
    const fs::path path = local_model_path(given);
    GM_CHECK(fs::exists(path), kNotFound, "inspect: no '", given, "'", missing_model_advice(given));
    // Headers cost nothing; --verify reads everything, which of a large model takes a while.
    if (line.dry_run) {
      std::printf("reads     %s%s (%s), writes nothing\n", line.verify ? "all of " : "headers of ",
                  given.c_str(), format_bytes(static_cast<double>(bytes_of(path))).c_str());
      continue;
    }
    if (line.paths.size() > 1) {
      std::printf("== %s\n", given.c_str());
    }
    if (fs::is_directory(path)) {
      inspect_directory(path, line.verify);
    } else {
      inspect_file(path, line.verify);
    }
  }
  return 0;
}

}  // namespace

Command inspect_command() {
  Command out;
  out.name = "inspect";
  out.doc =
      "show a checkpoint, shard, tokenizer, manifest or results; --verify re-reads its hashes";
  out.usage = "PATH... [--verify]";
  out.config_docs = model_config_docs;
  out.run = inspect;
  return out;
}

}  // namespace growmerge::launch
