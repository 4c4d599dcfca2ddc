#include "eval/tasks/pairs.h"

#include <array>

#include "core/base/error.h"
#include "eval/table_reader.h"

namespace growmerge::eval {

Task load_pairs(const std::vector<std::filesystem::path>& paths, const PairColumns& columns,
                std::optional<std::int64_t> limit, bool quoted) {
  GM_CHECK(!paths.empty(), kInvalidArgument, "pairs: no path is given");
  // Columns that the user names must be there; phenomenon is looked for in any case.
  const std::array<WantedColumn, 5> wanted = {
      {{columns.good, true},
       {columns.bad, true},
       {columns.id, !columns.id.empty()},
       {columns.phenomenon.empty() ? "phenomenon" : columns.phenomenon,
        !columns.phenomenon.empty()},
       {columns.cluster, !columns.cluster.empty()}}};
  GM_CHECK(!columns.good.empty() && !columns.bad.empty(), kInvalidArgument,
           "pairs: columns.good and columns.bad need names");
  Task task;
  ItemCollector collector(task, limit);
  for (const std::filesystem::path& path : paths) {
    collector.begin_part("");
    // Row numbers alone would be there twice.
    const std::string front = paths.size() > 1 ? path.stem().string() + "/" : "";
    const auto add = [&](const TableRow& row) {
      if (!collector.wants()) {
        return;
      }
      const std::string& id = row.fields[2];
      collector.add({.id = front + (id.empty() ? std::to_string(collector.count()) : id),
                     .paradigm = "",
                     .phenomenon = row.fields[3],
                     .cluster = row.fields[4].empty() ? row.fields[0] : row.fields[4],
                     .context = "",
                     .choices = {row.fields[0], row.fields[1]},
                     .gold = 0},
                    path, row.line);
    };
    task.read.add(read_table(path, wanted, add, quoted));
    GM_CHECK(collector.count() > 0, kCorrupt, path.string(), ": no pairs in this file");
  }
  return task;
}

}  // namespace growmerge::eval
