#include "merging/ledger.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/base/error.h"
#include "core/store/manifest.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

/// Inputs whose cost a stage carries on; data, tokenizers and models to compare with are not.
bool carries_cost(const InputRecord& input) {
  return input.role == "model" || input.role == "base" || input.role == "statistics" ||
         input.role.starts_with("model ") || input.role.starts_with("statistics ");
}

/// Where an input is: as given, or beside the directory that was made from it.
fs::path find_input(const fs::path& dir, const InputRecord& input) {
  const fs::path given = input.path;
  if (given.is_relative() && !fs::exists(given)) {
    return fs::absolute(dir).lexically_normal().parent_path() / given.filename();
  }
  return given;
}

/// Follows inputs to their inputs, and adds up the own cost of each stage once.
struct Walk {
  std::set<std::string> seen;  // identities
  double flops = 0.0;
  std::int64_t tokens = 0;
  std::vector<fs::path> growths;
  std::string missing;  // the first input that could not be followed

  void visit(const fs::path& dir) {
    const auto manifest = read_manifest(dir);
    if (manifest && seen.insert(manifest->identity).second) {
      flops += manifest->flops;
      tokens += manifest->tokens;
      if (manifest->stage == "upscale") {
        growths.push_back(dir);
      }
      visit_inputs(dir, *manifest);
    }
  }

  void visit_inputs(const fs::path& dir, const Manifest& manifest) {
    const bool has_past = manifest.flops_total > manifest.flops;
    bool followed = false;
    for (const InputRecord& input : manifest.inputs) {
      if (!carries_cost(input)) {
        continue;
      }
      const fs::path path = find_input(dir, input);
      const auto before = read_manifest(path);
      if (before && before->identity == input.identity) {
        followed = true;
        visit(path);
      } else if (has_past && (before || !fs::exists(path))) {
        note_missing(input.path);
      }
    }
    if (has_past && !followed) {
      note_missing("what '" + dir.string() + "' continued from");
    }
  }

  void note_missing(const std::string& what) {
    if (missing.empty()) {
      missing = what;
    }
  }
};

/// Own costs plus the largest past. A base has no part in it: it is the models' past.
Ledger estimate(const LedgerInputs& inputs) {
  Ledger out;
  double flops_before = 0.0;
  std::int64_t tokens_before = 0;
  for (const fs::path& model : inputs.models) {
    if (const auto m = read_manifest(model)) {
      out.flops_total += m->flops;
      out.tokens_total += m->tokens;
      flops_before = std::max(flops_before, m->flops_total - m->flops);
      tokens_before = std::max(tokens_before, m->tokens_total - m->tokens);
      out.flops_sunk = std::max(out.flops_sunk, m->flops_sunk);
    }
  }
  for (const fs::path& other : inputs.others) {
    const auto m = read_manifest(other);
    if (m && m->stage == "stats") {
      out.flops_total += m->flops;
      out.tokens_total += m->tokens;
    }
  }
  out.flops_total += flops_before;
  out.tokens_total += tokens_before;
  return out;
}

/// What a model continued from, by its notes or inputs; empty where nothing says so.
std::string origin_of(const Manifest& manifest) {
  const auto note = manifest.notes.find("continued_from");
  if (note != manifest.notes.end()) {
    return note->second;
  }
  for (const InputRecord& input : manifest.inputs) {
    if (input.role == "model") {
      return input.identity;
    }
  }
  return "";
}

}  // namespace

Ledger ledger_of(const LedgerInputs& inputs) {
  Walk walk;
  for (const std::vector<fs::path>* paths : {&inputs.models, &inputs.others}) {
    for (const fs::path& path : *paths) {
      walk.visit(path);
    }
  }
  if (walk.missing.empty()) {
    Walk sunk;
    // Sunk is what lies before a growth: the growth itself and all that it came from.
    for (const fs::path& growth : walk.growths) {
      sunk.visit(growth);
    }
    return {.flops_total = walk.flops,
            .flops_sunk = sunk.flops,
            .tokens_total = walk.tokens,
            .warning = {}};
  }
  Ledger out = estimate(inputs);
  std::set<std::string> origins;
  for (const fs::path& model : inputs.models) {
    if (const auto m = read_manifest(model)) {
      origins.insert(origin_of(*m));
    }
  }
  if (origins.size() > 1) {
    out.warning = concat(
        "the models did not continue from one checkpoint, and ", walk.missing,
        " is not where a manifest says (or was made anew): FLOPs and tokens of the merge are a "
        "lower bound. Keep the directories of earlier stages to get the exact sums");
  }
  return out;
}

}  // namespace growmerge::merging
