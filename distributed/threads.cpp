#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "core/base/cgroup.h"
#include "distributed/train.h"

namespace growmerge::distributed {

int threads_for_rank(Communicator& comm) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) {
    return 1;
  }
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  // The machine and the set of cores: ranks with both alike share them, and unbound ranks of one
  // machine have the whole of it in common.
  const std::string mine = std::string(host.data()) + ":" +
                           std::string(reinterpret_cast<const char*>(&cores), sizeof cores);
  const auto all = comm.all_gather_bytes(mine);
  const auto sharing = static_cast<int>(std::count(all.begin(), all.end(), mine));
  // A container may see all cores of its machine and get the time of a few.
  const double quota = cgroup_limits().cores.value_or(CPU_COUNT(&cores));
  const int usable = std::min(CPU_COUNT(&cores), std::max(1, static_cast<int>(quota)));
  return std::max(1, usable / std::max(1, sharing));
}

}  // namespace growmerge::distributed
