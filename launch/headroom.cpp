#include "launch/headroom.h"

#include <algorithm>
#include <fstream>
#include <system_error>

#include "core/base/cgroup.h"
#include "core/base/error.h"
#include "core/base/format.h"
#include "launch/dry_run.h"

namespace growmerge::launch {

namespace fs = std::filesystem;

std::optional<double> available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  double kib = 0.0;
  std::string unit;
  double sum = 0.0;
  bool found = false;
  // MemAvailable already counts what the page cache would give back.
  while (file >> key >> kib) {
    if (key == "MemAvailable:" || key == "SwapFree:") {
      sum += kib * 1024.0;
      found = found || key == "MemAvailable:";
    }
    std::getline(file, unit);
  }
  // A container's or a job's limit ends processes without a word.
  const std::optional<double> group = cgroup_limits().available_memory;
  return found ? std::optional(std::min(sum, group.value_or(sum))) : group;
}

std::optional<double> free_disk(const fs::path& dir) {
  std::error_code unknown;
  const fs::space_info space = fs::space(dir, unknown);
  return unknown || space.available == static_cast<std::uintmax_t>(-1)
             ? std::nullopt
             : std::optional(static_cast<double>(space.available));
}

void require_disk(const fs::path& dir, double bytes, const std::string& what) {
  const std::optional<double> free = free_disk(dir);
  // Checkpoints of an earlier start are overwritten or removed as new ones come.
  GM_CHECK(!free || *free + static_cast<double>(bytes_of(dir)) >= bytes, kIo, dir.string(), ": ",
           what, " need ", format_bytes(bytes), ", the file system has ",
           format_bytes(free.value_or(0.0)),
           " free; make room, choose an --out on another disk, or lower keep_last");
}

void require_memory(double bytes, const std::string& what) {
  const std::optional<double> there = available_memory();
  GM_CHECK(!there || *there >= bytes, kInvalidArgument, what, " needs ", format_bytes(bytes),
           " of memory, ", format_bytes(there.value_or(0.0)),
           " are available; lower microbatch_rows or row_tokens, start fewer ranks, or take a "
           "smaller model");
}

}  // namespace growmerge::launch
