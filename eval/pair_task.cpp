#include "eval/pair_task.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "core/base/error.h"
#include "eval/table_reader.h"

namespace growmerge::eval {
namespace {

/// Adds items and refuses ids that are there already.
class Collector {
 public:
  explicit Collector(PairTask& task) : task_(task) {}

  void add(PairItem item, const std::filesystem::path& path, std::int64_t line) {
    GM_CHECK(ids_.insert(item.id).second, kCorrupt, path.string(), ":", line, ": the id '", item.id,
             "' is there already");
    task_.num_identical += item.good == item.bad ? 1 : 0;
    task_.items.push_back(std::move(item));
  }

 private:
  PairTask& task_;
  std::unordered_set<std::string> ids_;
};

void check_limit(std::optional<std::int64_t> limit) {
  GM_CHECK(!limit || *limit >= 1, kInvalidArgument, "limit is ", *limit, ", expected at least 1");
}

}  // namespace

std::int64_t PairTask::num_paradigms() const {
  std::unordered_set<std::string> names;
  for (const PairItem& item : items) {
    names.insert(item.paradigm);
  }
  return static_cast<std::int64_t>(names.size());
}

PairTask load_blimp(const std::filesystem::path& dir, std::optional<std::int64_t> limit) {
  check_limit(limit);
  GM_CHECK(std::filesystem::is_directory(dir), kNotFound, dir.string(),
           ": no such folder (expected BLiMP's folder of .jsonl files)");
  std::vector<std::filesystem::path> files;
  for (const std::filesystem::path& folder : {dir, dir / "data"}) {
    if (!files.empty() || !std::filesystem::is_directory(folder)) {
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".jsonl") {
        files.push_back(entry.path());
      }
    }
  }
  GM_CHECK(!files.empty(), kNotFound, dir.string(), ": no .jsonl files here or in data/");
  std::sort(files.begin(), files.end());

  const std::array<WantedColumn, 5> columns = {{{"sentence_good", true},
                                                {"sentence_bad", true},
                                                {"UID", true},
                                                {"linguistics_term", true},
                                                {"pairID", false}}};
  PairTask task{.name = "blimp", .items = {}, .macro = true, .num_identical = 0, .available = {}};
  Collector collector(task);
  for (const std::filesystem::path& file : files) {
    std::int64_t count = 0;
    read_table(file, columns, [&](const TableRow& row) {
      const std::string& uid = row.fields[2];
      GM_CHECK(uid == file.stem().string(), kCorrupt, file.string(), ":", row.line, ": UID is '",
               uid, "', expected the file's name '", file.stem().string(), "'");
      ++task.available[uid];
      if (limit && count >= *limit) {
        return;
      }
      const std::string& term = row.fields[3];
      const std::string number = row.fields[4].empty() ? std::to_string(count) : row.fields[4];
      collector.add({.id = uid + "/" + number,
                     .paradigm = uid,
                     .phenomenon = term == "s-selection" ? "argument_structure" : term,
                     .cluster = row.fields[0],
                     .good = row.fields[0],
                     .bad = row.fields[1]},
                    file, row.line);
      ++count;
    });
  }
  return task;
}

PairTask load_multiblimp(const std::filesystem::path& path, std::optional<std::int64_t> limit) {
  check_limit(limit);
  const std::filesystem::path file = std::filesystem::is_directory(path) ? path / "data.tsv" : path;
  const std::array<WantedColumn, 5> columns = {
      {{"sen", true}, {"wrong_sen", true}, {"phenomenon", true}, {"lang", false}, {"head", false}}};
  PairTask task{
      .name = "multiblimp", .items = {}, .macro = false, .num_identical = 0, .available = {}};
  Collector collector(task);
  std::int64_t count = 0;
  read_table(file, columns, [&](const TableRow& row) {
    ++task.available[""];
    if (limit && count >= *limit) {
      return;
    }
    const std::string& language = row.fields[3];
    const std::string id = std::to_string(count);
    collector.add({.id = language.empty() ? id : language + "/" + id,
                   .paradigm = "",
                   .phenomenon = row.fields[2],
                   .cluster = row.fields[4].empty() ? row.fields[0] : row.fields[4],
                   .good = row.fields[0],
                   .bad = row.fields[1]},
                  file, row.line);
    ++count;
  });
  GM_CHECK(!task.items.empty(), kCorrupt, file.string(), ": no pairs behind the header");
  return task;
}

PairTask load_pairs(const std::vector<std::filesystem::path>& paths, const PairColumns& columns,
                    std::optional<std::int64_t> limit) {
  check_limit(limit);
  GM_CHECK(!paths.empty(), kInvalidArgument, "pairs: no path is given");
  const std::array<WantedColumn, 5> wanted = {
      {{columns.good, true},
       {columns.bad, true},
       {columns.id, !columns.id.empty()},
       {columns.phenomenon.empty() ? "phenomenon" : columns.phenomenon,
        !columns.phenomenon.empty()},
       {columns.cluster, !columns.cluster.empty()}}};
  GM_CHECK(!columns.good.empty() && !columns.bad.empty(), kInvalidArgument,
           "pairs: columns.good and columns.bad need names");
  PairTask task{.name = "pairs", .items = {}, .macro = false, .num_identical = 0, .available = {}};
  Collector collector(task);
  for (const std::filesystem::path& path : paths) {
    std::int64_t count = 0;
    const std::string front = paths.size() > 1 ? path.stem().string() + "/" : "";
    read_table(path, wanted, [&](const TableRow& row) {
      ++task.available[""];
      if (limit && count >= *limit) {
        return;
      }
      const std::string& id = row.fields[2];
      collector.add({.id = front + (id.empty() ? std::to_string(count) : id),
                     .paradigm = "",
                     .phenomenon = row.fields[3],
                     .cluster = row.fields[4].empty() ? row.fields[0] : row.fields[4],
                     .good = row.fields[0],
                     .bad = row.fields[1]},
                    path, row.line);
      ++count;
    });
    GM_CHECK(count > 0, kCorrupt, path.string(), ": no pairs in this file");
  }
  return task;
}

}  // namespace growmerge::eval
