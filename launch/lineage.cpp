#include "launch/lineage.h"

#include "core/manifest.h"

namespace growmerge::launch {

Lineage lineage_of(const std::filesystem::path& model) {
  Lineage out;
  const auto manifest = read_manifest(model);
  if (!manifest) {
    return out;
  }
  out.flops_total = manifest->flops_total;
  out.flops_sunk = manifest->flops_sunk;
  out.tokens_total = manifest->tokens_total;
  for (const char* kept : {"grown_from", "grown_from_path", "width_factor", "depth_factor"}) {
    if (const auto it = manifest->notes.find(kept); it != manifest->notes.end()) {
      out.notes.insert(*it);
    }
  }
  return out;
}

std::string tokenizer_hash_of(const std::filesystem::path& path) {
  const std::filesystem::path file =
      std::filesystem::is_directory(path) ? path / "tokenizer.json" : path;
  return std::filesystem::exists(file) ? hash_file(file) : std::string();
}

}  // namespace growmerge::launch
