#include "core/store/hub_cache.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <system_error>
#include <vector>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolderMark = "models--";

struct HubName {
  std::string model;     // ORG/NAME
  std::string revision;  // empty: main
};

bool is_name_part(const std::string& text) {
  return !text.empty() && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

std::optional<HubName> parse_hub_name(const std::string& text) {
  const std::size_t at = text.find('@');
  HubName name{text.substr(0, at), at == std::string::npos ? "" : text.substr(at + 1)};
  const std::size_t slash = name.model.find('/');
  if (slash == std::string::npos || !is_name_part(name.model.substr(0, slash)) ||
      !is_name_part(name.model.substr(slash + 1))) {
    return std::nullopt;
  }
  return name;
}

std::string download_command(const HubName& name) {
  return "`hf download " + name.model +
         (name.revision.empty() ? "" : " --revision " + name.revision) + "`";
}

/// ORG/NAME of models--ORG--NAME; old models have no ORG.
HubName name_of_folder(const std::string& folder) {
  std::string model = folder.substr(std::string(kFolderMark).size());
  if (const std::size_t at = model.find("--"); at != std::string::npos) {
    model.replace(at, 2, "/");
  }
  return {model, ""};
}

/// The commit that a file of refs/ holds; nothing where there is none.
std::optional<std::string> read_ref(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) {
    return std::nullopt;
  }
  std::string commit = read_file(file);
  commit.erase(commit.find_last_not_of(" \r\n") + 1);
  return commit;
}

/// A model's folder in a cache: its snapshot.
fs::path snapshot_of(const fs::path& folder, const std::string& revision,
                     const std::string& command) {
  const fs::path snapshots = folder / "snapshots";
  std::error_code ignored;
  // A revision is a branch or tag, which has a file in refs/, or a commit itself.
  const std::string name = revision.empty() ? "main" : revision;
  const std::string commit = read_ref(folder / "refs" / name).value_or(name);
  if (fs::is_directory(snapshots / commit, ignored)) {
    return snapshots / commit;
  }
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(snapshots, ignored)) {
    all.push_back(entry.path());
  }
  // Downloaded by its commit alone, there is no main, and nothing to choose from.
  if (revision.empty() && all.size() == 1) {
    return all.front();
  }
  std::sort(all.begin(), all.end());
  std::string list;
  for (const fs::path& path : all) {
    list += (list.empty() ? "" : ", ") + path.filename().string();
  }
  fail(ErrorCode::kNotFound, "'", folder.string(), "' has no snapshot of revision '", name,
       "' (there are: ", list.empty() ? "none" : list, "): ", command, " fetches it",
       all.size() > 1 ? ", or name one of the directories in snapshots/" : "");
}

}  // namespace

std::string resolve_hub_path(const std::string& path, const fs::path& cache) {
  std::error_code ignored;
  const fs::path given = without_trailing_slash(path);
  if (fs::exists(given, ignored)) {
    const std::string folder = given.filename().string();
    if (!folder.starts_with(kFolderMark) || !fs::is_directory(given / "snapshots", ignored)) {
      return path;
    }
    return snapshot_of(given, "", download_command(name_of_folder(folder))).string();
  }
  const std::optional<HubName> name = parse_hub_name(path);
  if (!name || cache.empty()) {
    return path;
  }
  std::string folder = kFolderMark + name->model;
  folder.replace(folder.find('/'), 1, "--");
  if (!fs::is_directory(cache / folder, ignored)) {
    return path;
  }
  return snapshot_of(cache / folder, name->revision, download_command(*name)).string();
}

std::string missing_model_advice(const std::string& path) {
  std::error_code ignored;
  const std::size_t at = path.find('@');
  if (at != std::string::npos && fs::exists(path.substr(0, at), ignored)) {
    return ": models are not downloaded; '" + path.substr(0, at) +
           "' is a directory here, which has no revisions: leave '" + path.substr(at) + "' away";
  }
  const std::optional<HubName> name = parse_hub_name(path);
  if (!name) {
    return "";
  }
  return ": models are not downloaded; if it is one of the Hugging Face hub, " +
         download_command(*name) +
         " puts it into the local cache ($HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub), "
         "where this name is looked up";
}

std::string model_dir_name(const fs::path& path) {
  const fs::path clean = without_trailing_slash(path);
  const fs::path snapshots = clean.parent_path();
  const std::string folder = snapshots.parent_path().filename().string();
  if (snapshots.filename() == "snapshots" && folder.starts_with(kFolderMark)) {
    const std::string model = name_of_folder(folder).model;
    return model.substr(model.find('/') + 1);  // all of it where there is none
  }
  return clean.filename().string();
}

}  // namespace growmerge
