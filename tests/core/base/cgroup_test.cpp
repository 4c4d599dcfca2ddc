#include "core/base/cgroup.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

TEST(Cgroup, Version2TakesTheNarrowestOfTheGroupAndThoseAbove) {
  const testing::TemporaryDirectory dir;
  const fs::path mount = dir.path() / "cgroup";
  const fs::path self = dir.path() / "self";
  write(self, "0::/slice/job_7/step\n");
  EXPECT_FALSE(cgroup_limits(mount, self).cores);
  write(mount / "slice/job_7/step/cpu.max", "max 100000\n");
  write(mount / "slice/job_7/step/memory.max", "max\n");
  write(mount / "slice/job_7/step/memory.current", "500\n");
  EXPECT_FALSE(cgroup_limits(mount, self).cores);
  EXPECT_FALSE(cgroup_limits(mount, self).available_memory);
  write(mount / "slice/job_7/cpu.max", "150000 100000\n");
  write(mount / "slice/cpu.max", "400000 100000\n");
  write(mount / "slice/job_7/memory.max", "1000\n");
  write(mount / "slice/job_7/memory.current", "900\n");
  write(mount / "slice/job_7/memory.stat", "anon 600\ninactive_file 200\nactive_file 50\n");
  const CgroupLimits limits = cgroup_limits(mount, self);
  EXPECT_EQ(limits.cores, 1.5);
  EXPECT_EQ(limits.available_memory, 350.0);
}

TEST(Cgroup, Version1HasAControllerEach) {
  const testing::TemporaryDirectory dir;
  const fs::path mount = dir.path() / "cgroup";
  const fs::path self = dir.path() / "self";
  write(self, "5:cpu,cpuacct:/job\n3:memory:/job\n1:name=systemd:/x\n");
  write(mount / "cpu/job/cpu.cfs_quota_us", "-1\n");
  write(mount / "cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_FALSE(cgroup_limits(mount, self).cores);
  write(mount / "cpu/job/cpu.cfs_quota_us", "200000\n");
  write(mount / "memory/job/memory.limit_in_bytes", "4096\n");
  write(mount / "memory/job/memory.usage_in_bytes", "5000\n");
  const CgroupLimits limits = cgroup_limits(mount, self);
  EXPECT_EQ(limits.cores, 2.0);
  EXPECT_EQ(limits.available_memory, 0.0);
}

TEST(Cgroup, NothingIsKnownWhereThereIsNone) {
  const testing::TemporaryDirectory dir;
  const CgroupLimits limits = cgroup_limits(dir.path() / "none", dir.path() / "none");
  EXPECT_FALSE(limits.cores);
  EXPECT_FALSE(limits.available_memory);
}

}  // namespace
}  // namespace growmerge
