// What was spent on a checkpoint before this stage, carried from manifest to manifest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace growmerge::launch {

struct Lineage {
  double flops_total = 0.0;  // since the base was born; 0 for an outside model
  double flops_sunk = 0.0;   // the part spent before the last growth
  std::int64_t tokens_total = 0;
  std::map<std::string, std::string> notes;  // grown_from and the like, which later stages keep
};
/// Of a checkpoint directory; zeros where it has no manifest.
[[nodiscard]] Lineage lineage_of(const std::filesystem::path& model);

/// The hash of the tokenizer.json in a directory (or of the file itself); empty where there is
/// none.
[[nodiscard]] std::string tokenizer_hash_of(const std::filesystem::path& path);

}  // namespace growmerge::launch
