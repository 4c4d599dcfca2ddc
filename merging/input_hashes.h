// The hashes of a merge's weight files, taken while their bytes are in the caches.
//
// A merge reads every input whole, and so does a hash; together they read it once. A hash needs its
// file's bytes in order, so this pays where the models lie in one order, which is the order of
// work; what a merge reads in another order, or not at all, is read at the end.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/store/safetensors.h"
#include "merging/merge.h"
#include "merging/tensor_task.h"

namespace growmerge::merging {

class InputHashes {
 public:
  /// Of the models and the base, those in outside directories whose hashes are not known.
  explicit InputHashes(const MergePlan& plan);
  ~InputHashes();
  /// What to do beside the tiles of this tensor: a job for each input, and one that hashes what is
  /// complete of the output. To be called in the order of work; the work of several tensors may
  /// then be done at the same time.
  [[nodiscard]] BesideWork beside(const std::string& tensor, SafetensorsWriter& out);
  /// Reads what is left of the inputs; from now on path_identity() knows them.
  void finish();

 private:
  struct Stream;
  void add(const CheckpointReader& model);

  std::vector<std::unique_ptr<Stream>> streams_;
  std::mutex out_mutex_;
};

}  // namespace growmerge::merging
