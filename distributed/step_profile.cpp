#include "distributed/step_profile.h"

#include <ATen/Parallel.h>

#include <cstdio>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/profile.h"

namespace growmerge::distributed {

StepProfile::StepProfile(const ProfileConfig& config, const TrainConfig& train,
                         std::filesystem::path work_dir)
    : config_(config), is_bfloat16_(train.dtype == "bfloat16"), work_dir_(std::move(work_dir)) {}

void StepProfile::before(std::int64_t step) {
  if (config_.from_step > 0 && step == config_.from_step) {
    profile::start();
    is_open_ = true;
  }
}

void StepProfile::after(std::int64_t step) {
  if (is_open_ && step == config_.from_step + config_.steps - 1) {
    write();
    is_open_ = false;
  }
}

void StepProfile::write() const {
  const std::vector<profile::Event> events = profile::stop();
  // Right behind the window, on the machine as it is then: what an operator could reach at best.
  const profile::Limits limits = profile::measure_limits();
  const double products = is_bfloat16_ ? limits.gflops_bfloat16 : limits.gflops_float32;
  // printf, because these numbers want fixed digits.
  char machine[160];
  std::snprintf(machine, sizeof machine,
                "Limits measured behind it on %d thread(s): products %.0f GFLOP/s in %s, copying "
                "%.1f GB/s.",
                at::get_num_threads(), products, is_bfloat16_ ? "bfloat16" : "float32",
                limits.gb_per_s);
  const std::string text = concat(
      "# Where ", config_.steps, " training steps went, from step ", config_.from_step,
      "\n\nRank 0. ", machine,
      " An operator's own time is without that of others inside it; bytes count its operands "
      "and results once.\n\n",
      profile::table(events, limits, products));
  write_file_atomically(work_dir_ / "profile.md", text);
  // For chrome://tracing and Perfetto.
  write_file_atomically(work_dir_ / "trace.json", profile::chrome_trace(events, 0));
  log_info(concat("profile of steps ", config_.from_step, " to ",
                  config_.from_step + config_.steps - 1, ": profile.md, trace.json"));
}

}  // namespace growmerge::distributed
