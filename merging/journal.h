// What a merge has finished, so that one that was killed goes on.
//
// A hidden file in the output directory: who writes it (journal_identity()), then a line for each
// tensor that is whole, and for each weight file that has its name. It is believed where the
// identity is the same: recipe, program, input files with size and time, and the boot of the
// machine, because what a killed process wrote is safe in the page cache and nowhere else.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/store/manifest.h"
#include "merging/merge.h"

namespace growmerge::merging {

inline constexpr const char* kJournalName = ".merge-journal";

/// One line of hexadecimal.
[[nodiscard]] std::string journal_identity(const MergePlan& plan);

/// Whether a run of this plan would go on in `dir`.
[[nodiscard]] bool can_go_on(const MergePlan& plan, const std::filesystem::path& dir);

class Journal {
 public:
  /// Reads what is there, or begins a new one. Errors: kIo.
  Journal(const std::filesystem::path& dir, const std::string& identity);
  /// Removes the file: only a process that is killed leaves it.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  [[nodiscard]] bool has_tensor(const std::string& name) const { return tensors_.contains(name); }
  /// The record of a weight file that is whole and still there.
  [[nodiscard]] std::optional<FileRecord> find_file(const std::string& name) const;
  /// Before a weight file is written: whether its unfinished part is there. Where it is not, no
  /// tensor of it counts.
  bool begin_file(const std::string& name);
  void add_tensor(const std::string& name);
  void add_file(const FileRecord& record);

 private:
  void append(const std::string& line);

  std::filesystem::path dir_;
  std::filesystem::path path_;
  int fd_ = -1;
  std::set<std::string> tensors_;
  std::map<std::string, FileRecord> files_;
};

}  // namespace growmerge::merging
