// Many processes under mpirun or srun as one Communicator, for CPU tensors.
//
// Every collective is a non-blocking MPI one that is polled, so a peer that died or stalls is
// noticed: after the time-out, the waiting ranks tell each other that they wait, and the error
// names the ranks that said nothing. Reductions go in pieces of a few MB (faster, and counts may
// exceed INT_MAX). They give the same bits on every rank, and the same bits again for the same
// inputs and world size. The only source that sees MPI's header is mpi_communicator.cpp.
#pragma once

#include <functional>
#include <memory>

#include "core/contracts/communicator.h"

namespace growmerge::distributed {

/// Initialises MPI (level FUNNELED: one thread calls it) and returns MPI_COMM_WORLD; its
/// destruction finalises MPI, once per process. Without mpirun it is a world of one. Errors:
/// kDistributed (initialised before, or MPI lacks the thread level).
///
/// Reductions take contiguous CPU tensors of float32, float64 or int64; bfloat16 is refused
/// (kUnsupported: sum it as float32). Broadcast and gather move any dtype.
[[nodiscard]] std::unique_ptr<Communicator> make_mpi_world(int* argc, char*** argv);

/// Ends all ranks at once with this exit code: what a rank does whose error its peers do not know.
[[noreturn]] void abort_job(int exit_code);

/// What `main` does with a rank's work: runs it and returns its exit code. An Error is logged; one
/// that all ranks share (kInterrupted) returns exit_code(), any other ends the whole job by
/// abort_job, so that no peer is left waiting. In a world of one it never aborts.
[[nodiscard]] int run_rank(Communicator& world, const std::function<int()>& work);

}  // namespace growmerge::distributed
