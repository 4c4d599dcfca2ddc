// Models in the local cache of the Hugging Face hub. Nothing is ever downloaded.
//
// Layout (huggingface_hub 0.8 and later): CACHE/models--ORG--NAME holds refs/REVISION, a file with
// a commit, and snapshots/COMMIT/FILE, links into blobs/.
#pragma once

#include <filesystem>
#include <string>

namespace growmerge {

/// Where the files of the model `path` lie: of a model's folder in a cache (models--ORG--NAME) its
/// snapshot; of ORG/NAME or ORG/NAME@REVISION, where there is no such path, its snapshot in `cache`
/// (empty: no cache); else `path` as it is. Errors: kNotFound where the cache knows the model, but
/// not the revision, or several of which none is main.
[[nodiscard]] std::string resolve_hub_path(const std::string& path,
                                           const std::filesystem::path& cache);

/// What to do about a model that is not there, to be put behind "no ...": how a name of the hub is
/// downloaded, or that a directory has no revisions. Empty where `path` looks like neither.
[[nodiscard]] std::string missing_model_advice(const std::string& path);

/// What a model's directory is called: its last part, or NAME where it is a snapshot.
[[nodiscard]] std::string model_dir_name(const std::filesystem::path& path);

}  // namespace growmerge
