// What was spent on the inputs of a merge, each stage once.
//
// Manifests name their inputs by path and identity; following them reaches every stage that the
// inputs (models, base, statistics) came from: siblings share stages, a merge of merges has many,
// and each is counted once, by identity. flops_sunk is the part spent before a growth. Outside
// models cost nothing that we know of.
//
// Where a stage's directory is gone or was made anew, its cost is known only as a part of its
// successors' totals. Then the own costs of models and statistics are added, and the largest of
// what came before any model: right where all continued from one checkpoint, a lower bound
// otherwise, which `warning` says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace growmerge::merging {

struct Ledger {
  double flops_total = 0.0;
  double flops_sunk = 0.0;
  std::int64_t tokens_total = 0;
  std::string warning;  // empty where the sums are exact
};

struct LedgerInputs {
  std::vector<std::filesystem::path> models;
  std::vector<std::filesystem::path> others;  // statistics and base
};

[[nodiscard]] Ledger ledger_of(const LedgerInputs& inputs);

}  // namespace growmerge::merging
