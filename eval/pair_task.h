// Minimal pairs: loading BLiMP, MultiBLiMP and any file of pairs.
//
// BLiMP (Warstadt et al. 2020, arXiv:1912.00582): a folder of one JSONL file per paradigm, 67 x
// 1000. MultiBLiMP 1.0 (Jumelet et al. 2025, arXiv:2504.02768): one quoted TSV per language.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/config.h"

namespace growmerge::eval {

struct PairItem {
  std::string id;          // unique in its task: "adjunct_island/17", "eng/204"
  std::string paradigm;    // BLiMP's UID; empty elsewhere
  std::string phenomenon;  // BLiMP: one of the paper's 12; MultiBLiMP: "SV-#", ...
  std::string cluster;     // items of one cluster are not independent (same verb form or sentence)
  std::string good;
  std::string bad;
};

/// Columns of a pair file. An absent optional column is left empty.
struct PairColumns {
  std::string good = "sentence_good";
  std::string bad = "sentence_bad";
  std::string id;          // default: the row number
  std::string phenomenon;  // default: "phenomenon" where there is one
  std::string cluster;     // default: the good sentence

  void describe(FieldVisitor& v) {
    v("good", good, "", "column of the acceptable sentence");
    v("bad", bad, "", "column of the unacceptable sentence");
    v("id", id, "", "column that names the item (default: the row number)");
    v("phenomenon", phenomenon, "", "column to report by (default: phenomenon, where it is there)");
    v("cluster", cluster, "",
      "column of the cluster for standard errors (default: the good sentence)");
  }
};

struct PairTask {
  std::string name;
  std::vector<PairItem> items;
  bool macro = false;              // the score is the mean over paradigms (BLiMP)
  std::int64_t num_identical = 0;  // pairs whose two sentences are the same string: always a tie
  /// Items the files hold without the limit, by paradigm ("" where there are none).
  std::map<std::string, std::int64_t> available;

  /// Number of distinct paradigms.
  [[nodiscard]] std::int64_t num_paradigms() const;
};

/// Reads one paradigm per .jsonl file of `dir` (or of dir/data), in order of file name; the first
/// `limit` items of each; the others are counted. `s-selection` counts as argument_structure, as in
/// the paper. Errors: kNotFound, kCorrupt with file:line (of any row).
[[nodiscard]] PairTask load_blimp(const std::filesystem::path& dir,
                                  std::optional<std::int64_t> limit);

/// Reads a MultiBLiMP language: DIR/data.tsv or the file itself. Items cluster by verb form (column
/// `head`). Errors: as load_blimp.
[[nodiscard]] PairTask load_multiblimp(const std::filesystem::path& path,
                                       std::optional<std::int64_t> limit);

/// Reads pairs from JSONL or TSV files, one behind the other (ids get the file's stem in front when
/// there are several). Errors: as load_blimp.
[[nodiscard]] PairTask load_pairs(const std::vector<std::filesystem::path>& paths,
                                  const PairColumns& columns, std::optional<std::int64_t> limit);

}  // namespace growmerge::eval
