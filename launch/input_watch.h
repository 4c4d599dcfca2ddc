// That a stage's inputs stay what they were: no output is published whose identity was computed
// from other bytes than were read.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "launch/command.h"

namespace growmerge::launch {

class InputWatch {
 public:
  InputWatch() = default;
  /// Takes down the stamps of all files of the inputs. To be made before anything is computed from
  /// their contents. Errors: kIo.
  explicit InputWatch(const StagePlan& plan);
  /// Stamps first; where one differs, the input's identity is computed again and held against the
  /// manifest's (a file may be touched or linked without harm), or counts as changed where the
  /// manifest has none yet. Errors: kIo naming input and file.
  void check(const StagePlan& plan, const Manifest& manifest) const;

 private:
  using Stamps = std::map<std::string, FileStamp>;
  static Stamps stamps_of(const StageInput& input);
  std::vector<Stamps> before_;  // as plan.inputs
};

}  // namespace growmerge::launch
