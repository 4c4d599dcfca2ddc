#include "eval/tasks/blimp.h"

#include <array>

#include "core/base/error.h"
#include "eval/table_reader.h"

namespace growmerge::eval {

Task load_blimp(const std::filesystem::path& dir, std::optional<std::int64_t> limit) {
  GM_CHECK(std::filesystem::is_directory(dir), kNotFound, dir.string(),
           ": no such folder (expected BLiMP's folder of .jsonl files)");
  std::vector<std::filesystem::path> files = files_in(dir, {".jsonl"});
  if (files.empty() && std::filesystem::is_directory(dir / "data")) {
    files = files_in(dir / "data", {".jsonl"});
  }
  GM_CHECK(!files.empty(), kNotFound, dir.string(), ": no .jsonl files here or in data/");

  const std::array<WantedColumn, 5> columns = {{{"sentence_good", true},
                                                {"sentence_bad", true},
                                                {"UID", true},
                                                {"linguistics_term", true},
                                                {"pairID", false}}};
  Task task;
  task.macro = true;
  ItemCollector collector(task, limit);
  for (const std::filesystem::path& file : files) {
    collector.begin_part(file.stem().string());
    task.read.add(read_table(file, columns, [&](const TableRow& row) {
      const std::string& uid = row.fields[2];
      // A file under another name would count as another paradigm.
      GM_CHECK(uid == file.stem().string(), kCorrupt, file.string(), ":", row.line, ": UID is '",
               uid, "', expected the file's name '", file.stem().string(), "'");
      if (!collector.wants()) {
        return;
      }
      const std::string& term = row.fields[3];
      const std::string number =
          row.fields[4].empty() ? std::to_string(collector.count()) : row.fields[4];
      collector.add({.id = uid + "/" + number,
                     .paradigm = uid,
                     .phenomenon = term == "s-selection" ? "argument_structure" : term,
                     .cluster = row.fields[0],
                     .context = "",
                     .choices = {row.fields[0], row.fields[1]},
                     .gold = 0},
                    file, row.line);
    }));
  }
  if (task.num_paradigms() != 67) {
    task.warning =
        concat(dir.string(), ": ", task.num_paradigms(),
               " paradigms, BLiMP has 67: the mean is not comparable with published ones");
  }
  return task;
}

}  // namespace growmerge::eval
