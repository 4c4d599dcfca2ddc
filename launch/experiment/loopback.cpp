#include "launch/experiment/loopback.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.h"
#include "core/base/log.h"

namespace growmerge::launch {
namespace {

bool any_interface_is_up() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) {
    return true;  // unknown: mpirun will tell
  }
  // Any will do: mpirun only needs an address to listen at.
  bool up = false;
  for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
    up = up || (at->ifa_flags & IFF_UP) != 0;
  }
  freeifaddrs(first);
  return up;
}

bool bring_up_loopback() {
  const int handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (handle < 0) {
    return false;
  }
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  bool up = ioctl(handle, SIOCGIFFLAGS, &request) == 0;
  if (up) {
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    up = ioctl(handle, SIOCSIFFLAGS, &request) == 0;
  }
  // close() may set another.
  const int reason = errno;
  close(handle);
  errno = reason;
  return up;
}

}  // namespace

void require_network_interface() {
  if (any_interface_is_up()) {
    return;
  }
  GM_CHECK(bring_up_loopback(), kDistributed,
           "no network interface is up, and mpirun cannot start ranks without one, even on one "
           "machine; bringing the loopback interface up failed: ",
           std::strerror(errno), "; as root: ip link set lo up (or --set run.ranks=1)");
  log_info("no network interface was up: the loopback interface is now, for mpirun");
}

}  // namespace growmerge::launch
