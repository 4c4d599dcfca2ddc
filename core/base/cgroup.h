// What a control group (a container, a Slurm job, a systemd slice) leaves this process of its
// machine: the kernel's other numbers are those of the whole machine.
#pragma once

#include <filesystem>
#include <optional>

namespace growmerge {

struct CgroupLimits {
  std::optional<double> cores;  // processor time a second
  /// Bytes that may still be taken, the page cache of the group counted as free.
  std::optional<double> available_memory;
};

/// Of cgroup version 2, or 1 where that is mounted; the narrowest of the group and those above it.
/// Nothing where there is no limit, or none can be read. The paths are the kernel's, but for tests.
[[nodiscard]] CgroupLimits cgroup_limits(
    const std::filesystem::path& mount = "/sys/fs/cgroup",
    const std::filesystem::path& membership = "/proc/self/cgroup");

}  // namespace growmerge
