#include "eval/tasks/multiblimp.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "eval/table_reader.h"

namespace growmerge::eval {
namespace {

using LanguageFile = std::pair<std::string, std::filesystem::path>;  // name ("" where alone), TSV

std::vector<LanguageFile> find_languages(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) {
    return {{"", path}};
  }
  if (std::filesystem::exists(path / "data.tsv")) {
    return {{"", path / "data.tsv"}};
  }
  std::vector<LanguageFile> files;
  for (const std::filesystem::path& file : files_in(path, {".tsv"})) {
    files.emplace_back(file.stem().string(), file);
  }
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (std::filesystem::exists(entry.path() / "data.tsv")) {
      files.emplace_back(entry.path().filename().string(), entry.path() / "data.tsv");
    }
  }
  // Files and folders together, by the language's name.
  std::sort(files.begin(), files.end());
  GM_CHECK(!files.empty(), kNotFound, path.string(),
           ": no data.tsv here, no .tsv file of a language and no folder of one with data.tsv");
  return files;
}

TableCounts read_language(const LanguageFile& language, bool quoted, ItemCollector& collector) {
  const std::array<WantedColumn, 5> columns = {
      {{"sen", true}, {"wrong_sen", true}, {"phenomenon", true}, {"lang", false}, {"head", false}}};
  const auto& [name, file] = language;
  collector.begin_part(name);
  const auto add = [&, &name = name, &file = file](const TableRow& row) {
    if (!collector.wants()) {
      return;
    }
    // In a folder of languages the name is the folder's; alone, the column's where there is one.
    const std::string& front = name.empty() ? row.fields[3] : name;
    const std::string id = std::to_string(collector.count());
    collector.add({.id = front.empty() ? id : front + "/" + id,
                   .paradigm = name,
                   .phenomenon = row.fields[2],
                   .cluster = row.fields[4].empty() ? row.fields[0] : row.fields[4],
                   .context = "",
                   .choices = {row.fields[0], row.fields[1]},
                   .gold = 0},
                  file, row.line);
  };
  const TableCounts counts = read_table(file, columns, add, quoted);
  GM_CHECK(collector.count() > 0, kCorrupt, file.string(), ": no pairs behind the header");
  return counts;
}

}  // namespace

Task load_multiblimp(const std::filesystem::path& path, std::optional<std::int64_t> limit,
                     bool quoted) {
  const std::vector<LanguageFile> languages = find_languages(path);
  Task task;
  task.macro = !languages.front().first.empty();
  ItemCollector collector(task, limit);
  for (const LanguageFile& language : languages) {
    task.read.add(read_language(language, quoted, collector));
  }
  return task;
}

}  // namespace growmerge::eval
