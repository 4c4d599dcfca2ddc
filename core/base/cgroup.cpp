#include "core/base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

namespace growmerge {
namespace {

namespace fs = std::filesystem;

/// The first number of a file; nothing for "max", for less than 0, and where there is no such file.
std::optional<double> number_in(const fs::path& file) {
  std::ifstream in(file);
  double value = 0.0;
  return in >> value && value >= 0.0 ? std::optional(value) : std::nullopt;
}

void narrow(std::optional<double>& limit, std::optional<double> other) {
  if (other && (!limit || *other < *limit)) {
    limit = other;
  }
}

/// Page cache of a group, which the kernel gives up first.
double cache_of(const fs::path& group) {
  std::ifstream in(group / "memory.stat");
  double sum = 0.0;
  std::string key;
  double bytes = 0.0;
  while (in >> key >> bytes) {
    if (key == "inactive_file" || key == "active_file") {
      sum += bytes;
    }
  }
  return sum;
}

std::optional<double> left_of(const fs::path& group, const char* limit, const char* used) {
  const auto most = number_in(group / limit);
  const auto now = number_in(group / used);
  return most && now ? std::optional(std::max(0.0, *most - *now + cache_of(group))) : std::nullopt;
}

/// "max 100000" or "150000 100000": microseconds of time in microseconds.
std::optional<double> cores_of(const fs::path& group) {
  std::ifstream in(group / "cpu.max");
  double quota = 0.0;
  double period = 0.0;
  return in >> quota >> period && period > 0.0 ? std::optional(quota / period) : std::nullopt;
}

std::optional<double> cores_of_version_1(const fs::path& group) {
  const auto quota = number_in(group / "cpu.cfs_quota_us");
  const auto period = number_in(group / "cpu.cfs_period_us");
  return quota && period && *period > 0.0 ? std::optional(*quota / *period) : std::nullopt;
}

/// The group's path by controller; that of version 2 by "".
std::map<std::string, fs::path> groups_of(const fs::path& membership) {
  std::map<std::string, fs::path> out;
  std::ifstream in(membership);
  for (std::string line; std::getline(in, line);) {  // "4:cpu,cpuacct:/path", "0::/path"
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      continue;
    }
    std::istringstream names(line.substr(first + 1, second - first - 1));
    const fs::path path = fs::path(line.substr(second + 1)).relative_path();
    std::string name;
    do {
      name.clear();
      std::getline(names, name, ',');
      out[name] = path;
    } while (names.good());
  }
  return out;
}

/// Calls fn for the group's directory and each above it, up to the mount.
template <class Fn>
void for_each_above(const fs::path& mount, fs::path group, Fn&& fn) {
  for (; !group.empty(); group = group.parent_path()) {
    fn(mount / group);
  }
  fn(mount);
}

}  // namespace

CgroupLimits cgroup_limits(const fs::path& mount, const fs::path& membership) {
  CgroupLimits out;
  const std::map<std::string, fs::path> groups = groups_of(membership);
  if (const auto group = groups.find(""); group != groups.end()) {
    for_each_above(mount, group->second, [&out](const fs::path& dir) {
      narrow(out.cores, cores_of(dir));
      narrow(out.available_memory, left_of(dir, "memory.max", "memory.current"));
    });
  }
  if (const auto group = groups.find("cpu"); group != groups.end()) {
    for_each_above(mount / "cpu", group->second,
                   [&out](const fs::path& dir) { narrow(out.cores, cores_of_version_1(dir)); });
  }
  if (const auto group = groups.find("memory"); group != groups.end()) {
    for_each_above(mount / "memory", group->second, [&out](const fs::path& dir) {
      narrow(out.available_memory, left_of(dir, "memory.limit_in_bytes", "memory.usage_in_bytes"));
    });
  }
  return out;
}

}  // namespace growmerge
