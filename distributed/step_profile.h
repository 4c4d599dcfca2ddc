// The profile of a window of training steps: profile.md (a table for people) and trace.json.
#pragma once

#include <cstdint>
#include <filesystem>

#include "distributed/train_config.h"

namespace growmerge::distributed {

class StepProfile {
 public:
  StepProfile(const ProfileConfig& config, const TrainConfig& train,
              std::filesystem::path work_dir);

  /// Call before and after step number `step` (from 1). Writes both files behind the last step of
  /// the window. Errors: kIo.
  void before(std::int64_t step);
  void after(std::int64_t step);

 private:
  void write() const;

  ProfileConfig config_;
  bool is_bfloat16_;
  std::filesystem::path work_dir_;
  bool is_open_ = false;
};

}  // namespace growmerge::distributed
