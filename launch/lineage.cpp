#include "launch/lineage.h"

#include "core/store/hashes.h"
#include "core/store/manifest.h"

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
  for (const auto& note : manifest->notes) {
    if (note.first.starts_with("grown_from") || note.first.starts_with("growth.")) {
      out.notes.insert(note);
    }
  }
  return out;
}

std::string tokenizer_hash_of(const std::filesystem::path& path) {
  // The file is what makes tokens, whatever lies beside it.
  const std::filesystem::path file =
      std::filesystem::is_directory(path) ? path / "tokenizer.json" : path;
  return std::filesystem::exists(file) ? hash_file(file) : std::string();
}

}  // namespace growmerge::launch
