// Many GPUs as one Communicator: NCCL for CUDA tensors, one device a process.
//
// The unique id goes through the bootstrap communicator (MPI), and so do small host data.
// Collectives run on a stream of their own, behind the work that is queued on the caller's stream;
// Work::wait makes the caller's stream wait, not the host. barrier() waits on the host, at most
// timeout_s, and then aborts NCCL and throws kDistributed, as it does on an error that NCCL
// noticed.
#pragma once

#include <memory>
#include <string>

#include "core/contracts/communicator.h"

namespace growmerge::distributed {

/// Collective over `bootstrap`, which must outlive it. Takes contiguous CUDA tensors of float32,
/// float64, int64 or bfloat16; CPU tensors go through `bootstrap`. Errors: kDistributed, kMismatch
/// (headers and library of NCCL differ).
[[nodiscard]] std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap,
                                                                   int device);
/// "2.28.9".
[[nodiscard]] std::string nccl_version();

}  // namespace growmerge::distributed
