#include "core/store/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/store/hashes.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json to_json(const Manifest& m) {
  Json inputs = Json::array();
  for (const InputRecord& input : m.inputs) {
    inputs.push_back({{"role", input.role}, {"path", input.path}, {"identity", input.identity}});
  }
  Json files = Json::array();
  for (const FileRecord& file : m.files) {
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"hash", file.hash}});
  }
  return {{"format_version", Manifest::kVersion},
          {"stage", m.stage},
          {"identity", m.identity},
          {"identity_version", m.identity_version},
          {"growmerge_version", m.growmerge_version},
          {"git_hash", m.git_hash},
          {"seed", m.seed},
          {"world_size", m.world_size},
          {"flops", m.flops},
          {"flops_total", m.flops_total},
          {"flops_sunk", m.flops_sunk},
          {"tokens", m.tokens},
          {"tokens_total", m.tokens_total},
          {"notes", m.notes},
          {"inputs", inputs},
          {"config", m.config},
          {"files", files}};
}

Manifest from_json(const Json& json) {
  Manifest m;
  // at() throws where a field is missing, and read_manifest() calls such a file corrupt: nothing is
  // filled by a guess.
  m.stage = json.at("stage").get<std::string>();
  m.identity = json.at("identity").get<std::string>();
  m.identity_version = json.value("identity_version", 1);  // the first did not say
  m.growmerge_version = json.at("growmerge_version").get<std::string>();
  m.git_hash = json.at("git_hash").get<std::string>();
  m.seed = json.at("seed").get<std::uint64_t>();
  m.world_size = json.at("world_size").get<int>();
  m.flops = json.at("flops").get<double>();
  m.flops_total = json.at("flops_total").get<double>();
  m.flops_sunk = json.at("flops_sunk").get<double>();
  m.tokens = json.at("tokens").get<std::int64_t>();
  m.tokens_total = json.at("tokens_total").get<std::int64_t>();
  m.notes = json.at("notes").get<std::map<std::string, std::string>>();
  m.config = json.at("config").get<std::string>();
  for (const Json& input : json.at("inputs")) {
    m.inputs.push_back({input.at("role").get<std::string>(), input.at("path").get<std::string>(),
                        input.at("identity").get<std::string>()});
  }
  for (const Json& file : json.at("files")) {
    m.files.push_back({file.at("path").get<std::string>(), file.at("bytes").get<std::uint64_t>(),
                       file.at("hash").get<std::string>()});
    const fs::path path = m.files.back().path;
    GM_CHECK(path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end(),
             kCorrupt, "it lists '", path.string(), "', which lies outside its directory");
  }
  return m;
}

/// What readers look for in a directory: one that the stage did not write would be taken for its
/// own.
bool is_read_by_name(const fs::path& file) {
  return file.extension() == ".safetensors" || file.extension() == ".h5" ||
         file.string().ends_with(".safetensors.index.json") || file == "tokenizer.json";
}

/// Size first: it costs nothing and says more about what happened.
std::string fault_of(const fs::path& path, const FileRecord& record,
                     std::string (*hash_of)(const fs::path&)) {
  if (!fs::is_regular_file(path)) {
    return concat("'", path.string(), "' is missing, but the manifest lists it");
  }
  if (const std::uint64_t bytes = fs::file_size(path); bytes != record.bytes) {
    return concat("'", path.string(), "' has ", bytes, " bytes, the manifest says ", record.bytes);
  }
  if (const std::string hash = hash_of(path); hash != record.hash) {
    return concat("'", path.string(), "' has hash ", hash, ", the manifest says ", record.hash,
                  ": the file has changed");
  }
  return "";
}

}  // namespace

std::optional<Manifest> read_manifest(const fs::path& dir) {
  const fs::path path = dir / kManifestName;
  if (!fs::exists(path)) {
    return std::nullopt;
  }
  try {
    const Json json = Json::parse(read_json_text(path));
    // Before any other field: another version may hold others.
    const int version = json.at("format_version").get<int>();
    GM_CHECK(version == Manifest::kVersion, kUnsupported, "'", path.string(),
             "' has format version ", version, ", this growmerge reads version ",
             Manifest::kVersion, ": use the growmerge that wrote it (",
             json.value("growmerge_version", "unknown"), ")");
    return with_context("'" + path.string() + "'", [&json] { return from_json(json); });
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorrupt, "'", path.string(), "' is no manifest: ", e.what());
  }
}

std::string file_fault(const fs::path& dir, const Manifest& manifest) {
  for (const FileRecord& record : manifest.files) {
    const std::string fault = fault_of(dir / record.path, record, cached_file_hash);
    if (!fault.empty()) {
      return fault;
    }
  }
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    const bool is_listed =
        std::any_of(manifest.files.begin(), manifest.files.end(),
                    [&name](const FileRecord& record) { return record.path == name; });
    if (!is_listed && !name.starts_with('.') && is_read_by_name(name)) {
      return concat("'", entry.path().string(), "' is not in its manifest");
    }
  }
  return "";
}

std::optional<Manifest> believed_manifest(const fs::path& dir) {
  auto manifest = read_manifest(dir);
  if (manifest) {
    const std::string fault = file_fault(dir, *manifest);
    GM_CHECK(fault.empty(), kCorrupt, fault, ". So '", (dir / kManifestName).string(),
             "' tells of something else: if '", dir.string(),
             "' was changed on purpose, remove its manifest.json (it then counts as a directory "
             "from outside, known by its files alone); else make it again");
  }
  return manifest;
}

void write_manifest(const fs::path& dir, const Manifest& manifest) {
  // Paths and notes need not be UTF-8, and what is not is replaced: a manifest that cannot be
  // written would lose the stage's work.
  write_file_atomically(
      dir / kManifestName,
      to_json(manifest).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string stage_identity(const Manifest& manifest) {
  // Sorted: describing the same fields in another order computes the same.
  std::vector<std::string> fields = config_fields(manifest.config);
  std::sort(fields.begin(), fields.end());
  FieldHash hash;
  // Names the rule, so that identities by another rule never meet these. Number of ranks, versions
  // and files stay out: they do not decide what is computed.
  hash.add(concat("growmerge stage ", Manifest::kIdentityVersion));
  hash.add(manifest.stage);
  hash.add(std::to_string(fields.size()));
  for (const std::string& field : fields) {
    hash.add(field);
  }
  hash.add(std::to_string(manifest.seed));
  for (const InputRecord& input : manifest.inputs) {
    hash.add(input.role);
    hash.add(input.identity);
  }
  return hash.digest();
}

std::vector<std::string> config_fields(const std::string& config) {
  std::istringstream lines(config);
  std::vector<std::string> out;
  for (std::string line; std::getline(lines, line);) {
    out.push_back(line);
  }
  return out;
}

void check_has_identity(const fs::path& path) {
  const fs::path clean = without_trailing_slash(path);
  GM_CHECK(!(clean.extension() == ".tmp" && fs::is_directory(clean)), kMismatch, "'",
           clean.string(), "' is an unfinished stage: run the stage that writes it again");
  if (!fs::exists(clean)) {
    const bool unfinished = fs::exists(clean.string() + ".tmp");
    fail(ErrorCode::kNotFound, "no '", clean.string(), "'",
         unfinished ? ": the stage that writes it is unfinished, run it again" : "");
  }
}

std::string path_identity(const fs::path& path) {
  check_has_identity(path);
  const fs::path clean = without_trailing_slash(path);
  if (!fs::is_directory(clean)) {
    return cached_file_hash(clean);
  }
  if (const auto manifest = believed_manifest(clean)) {
    return manifest->identity;
  }
  FieldHash hash;
  hash.add("growmerge directory 1");
  // Names are hashed, too: the same bytes under another name are another input.
  for (const std::string& file : visible_files(clean)) {
    hash.add(file);
    hash.add(cached_file_hash(clean / file));
  }
  return hash.digest();
}

void verify_directory(const fs::path& dir) {
  const auto manifest = read_manifest(dir);
  GM_CHECK(manifest.has_value(), kNotFound, "'", dir.string(),
           "' has no manifest.json: it is no finished stage");
  for (const FileRecord& record : manifest->files) {
    const std::string fault = fault_of(dir / record.path, record, hash_file);
    GM_CHECK(fault.empty(), kCorrupt, fault);
  }
}

}  // namespace growmerge
