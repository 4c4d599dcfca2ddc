// The network that mpirun asks for.
#pragma once

namespace growmerge::launch {

/// mpirun cannot start ranks, not even on one machine, where no network interface is up (a bare
/// network namespace, a stripped container). Brings the loopback interface up there, and says so.
/// Errors: kDistributed where that is not allowed.
void require_network_interface();

}  // namespace growmerge::launch
