// What is evaluated: items as text, before any model has seen them.
//
// An item is a context and k choices that may follow it. A minimal pair is two choices behind an
// empty context, the good sentence first; running text is one choice and has no right answer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "eval/table_reader.h"

namespace growmerge::eval {

struct Item {
  std::string id;          // unique in its task: "adjunct_island/17", "eng/204"
  std::string paradigm;    // what the mean is over where the task has such a mean: BLiMP's UID, ...
  std::string phenomenon;  // reported by: BLiMP: one of the paper's 12; MultiBLiMP: "SV-#", ...
  std::string cluster;     // items of one cluster are not independent (same verb form or sentence)
  std::string context;     // before every choice; never scored
  std::vector<std::string> choices{};
  std::optional<std::int64_t> gold;  // index of the right choice; none in running text
};

struct Task {
  std::string name;
  std::vector<Item> items{};
  bool macro = false;              // the score is the mean over paradigms
  std::int64_t num_identical = 0;  // items all of whose choices are the same string: always a tie
  /// Items the files hold without the limit, by paradigm ("" where there are none).
  std::map<std::string, std::int64_t> available{};
  TableCounts read{};                // of files of rows
  std::int64_t empty_documents = 0;  // of running text: left out
  std::string warning{};             // what is unusual about the files
  std::int64_t shots = 0;            // answered examples in front of each context

  /// Number of distinct paradigms.
  [[nodiscard]] std::int64_t num_paradigms() const;
};

/// A document of running text, as readers give it.
struct Document {
  std::string id;
  std::string text;
};

/// Adds items to a task: the first `limit` of each part, all counted, no id twice.
class ItemCollector {
 public:
  /// Errors: kInvalidArgument (limit < 1).
  ItemCollector(Task& task, std::optional<std::int64_t> limit);

  /// Begins a part (a paradigm, a file): the limit counts anew.
  void begin_part(const std::string& paradigm);
  /// Counts one more item of this part; false when it is beyond the limit.
  [[nodiscard]] bool wants();
  /// Items of this part so far.
  [[nodiscard]] std::int64_t count() const { return count_; }
  /// Errors: kCorrupt with path:line when the id is there already.
  void add(Item item, const std::filesystem::path& path, std::int64_t line);

 private:
  Task& task_;
  std::optional<std::int64_t> limit_;
  std::string paradigm_;
  std::int64_t count_ = 0;
  std::unordered_set<std::string> ids_;
};

/// Files with one of `extensions` in `dir` itself, sorted by name.
[[nodiscard]] std::vector<std::filesystem::path> files_in(
    const std::filesystem::path& dir, const std::vector<std::string>& extensions);

/// XXH3-128 of ids, contexts (where there are any), choices and right answers that are not the
/// first, in order.
[[nodiscard]] std::string hash_items(const std::vector<Item>& items);

}  // namespace growmerge::eval
