#include "data/text_files.h"

#include <glob.h>

#include <algorithm>
#include <cctype>
#include <system_error>

#include "core/base/error.h"
#include "core/base/special_files.h"
#include "core/base/json_text.h"
#include "data/decompressor.h"

namespace growmerge::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKinds =
    ".txt, .jsonl or .ndjson, also with .gz, .zst, .xz or .bz2, are read";

/// Without the ending of a compressed file.
fs::path unpacked_name(fs::path path) {
  return compression_of(path) != nullptr ? path.replace_extension() : path;
}

/// A file's content on standard output: "zstd -dc FILE".
std::string command_to_unpack(const fs::path& file) {
  const Compression* kind = compression_of(file);
  return concat(kind == nullptr ? "cat" : concat(kind->name, " -dc"), " '", file.string(), "'");
}

void add_directory(const fs::path& dir, std::vector<fs::path>& files) {
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(dir, error); it != fs::end(it);
       it.increment(error)) {
    GM_CHECK(!error, kIo, dir.string(), ": cannot list: ", error.message());
    const std::string name = it->path().filename().string();
    // Hidden folders hold other programs' files (.git, .cache); a .txt there is no text to train
    // on.
    if (name.starts_with('.')) {
      it.disable_recursion_pending();
    } else if (it->is_regular_file(error) && text_kind_of(it->path()) != TextKind::kUnknown) {
      files.push_back(it->path());
    }
  }
  GM_CHECK(!error, kIo, dir.string(), ": cannot list: ", error.message());
}

std::vector<fs::path> match_pattern(const std::string& pattern) {
  glob_t result{};
  // GLOB_ERR: a directory that cannot be read must not silently give fewer files.
  const int status = glob(pattern.c_str(), GLOB_NOSORT | GLOB_ERR, nullptr, &result);
  std::vector<fs::path> paths(result.gl_pathv, result.gl_pathv + result.gl_pathc);
  globfree(&result);
  GM_CHECK(status == 0 || status == GLOB_NOMATCH, kIo, pattern, ": cannot list a directory of it");
  return paths;
}

/// What to do with a file that is not read; empty where nothing is known.
std::string advice_for(const fs::path& file) {
  const fs::path name = unpacked_name(file);
  const std::string extension = name.extension().string();
  const std::string to = " > '" + fs::path(name).replace_extension(".jsonl").string() + "'";
  if (extension == ".json") {
    return lines_advice(file);
  }
  if (extension == ".tsv" || extension == ".csv") {
    const char* dialect = extension == ".tsv" ? ", delimiter='\\t', quoting=csv.QUOTE_NONE" : "";
    return concat("rows become JSON lines by: ", command_to_unpack(file),
                  " | python3 -c \"import csv, json, sys; [print(json.dumps(row, "
                  "ensure_ascii=False)) for row in csv.DictReader(sys.stdin",
                  dialect, ")]\"", to);
  }
  if (extension == ".parquet") {
    return concat("rows become JSON lines by: python3 -c \"import pandas; pandas.read_parquet('",
                  file.string(), "').to_json('",
                  fs::path(name).replace_extension(".jsonl").string(),
                  "', orient='records', lines=True, force_ascii=False)\"");
  }
  if (extension == ".tar" || extension == ".tgz" || extension == ".zip" || extension == ".7z") {
    return "unpack it, and name the folder";
  }
  return "";
}

}  // namespace

TextKind text_kind_of(fs::path path) {
  const fs::path extension = unpacked_name(std::move(path)).extension();
  if (extension == ".txt") {
    return TextKind::kText;
  }
  return extension == ".jsonl" || extension == ".ndjson" ? TextKind::kJsonLines
                                                         : TextKind::kUnknown;
}

std::string lines_advice(const fs::path& file) {
  return json_lines_advice(unpacked_name(file),
                           compression_of(file) == nullptr ? "" : command_to_unpack(file));
}

std::vector<fs::path> expand_input(const std::string& path) {
  std::error_code ignored;
  std::vector<fs::path> files;
  std::vector<fs::path> named{path};
  if (!fs::exists(path, ignored) && path.find_first_of("*?[") != std::string::npos) {
    named = match_pattern(path);
  }
  for (const fs::path& name : named) {
    if (fs::is_directory(name, ignored)) {
      add_directory(name, files);
      continue;
    }
    GM_CHECK(fs::exists(name, ignored), kNotFound, name.string(), ": no such file or directory");
    if (text_kind_of(name) == TextKind::kUnknown) {
      const std::string advice = advice_for(name);
      fail(ErrorCode::kUnsupported, name.string(), ": its kind is not known: ", kKinds,
           advice.empty() ? "" : "; " + advice);
    }
    check_no_special_file(name);  // every rank reads the text, and a pipe gives it once
    files.push_back(name);
  }
  GM_CHECK(!files.empty(), kNotFound, path, ": no file of text is there: ", kKinds);
  // By bytes: neither the locale nor the file system's order may decide what is read first.
  std::sort(files.begin(), files.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  return files;
}

}  // namespace growmerge::data
