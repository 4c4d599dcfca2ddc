#include "eval/tasks/multiblimp.h"

#include <array>

#include "core/base/error.h"
#include "eval/table_reader.h"

namespace growmerge::eval {

Task load_multiblimp(const std::filesystem::path& path, std::optional<std::int64_t> limit) {
  const std::filesystem::path file = std::filesystem::is_directory(path) ? path / "data.tsv" : path;
  const std::array<WantedColumn, 5> columns = {
      {{"sen", true}, {"wrong_sen", true}, {"phenomenon", true}, {"lang", false}, {"head", false}}};
  Task task;
  ItemCollector collector(task, limit);
  collector.begin_part("");
  read_table(file, columns, [&](const TableRow& row) {
    if (!collector.wants()) {
      return;
    }
    const std::string& language = row.fields[3];
    const std::string id = std::to_string(collector.count());
    collector.add({.id = language.empty() ? id : language + "/" + id,
                   .paradigm = "",
                   .phenomenon = row.fields[2],
                   .cluster = row.fields[4].empty() ? row.fields[0] : row.fields[4],
                   .context = "",
                   .choices = {row.fields[0], row.fields[1]},
                   .gold = 0},
                  file, row.line);
  });
  GM_CHECK(!task.items.empty(), kCorrupt, file.string(), ": no pairs behind the header");
  return task;
}

}  // namespace growmerge::eval
