// Loss on held-out rows, shared among ranks.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/contracts/batch_source.h"
#include "core/contracts/communicator.h"
#include "core/model/model_config.h"
#include "core/store/param_map.h"
#include "core/transformer/transformer.h"

namespace growmerge::distributed {

/// Rows [begin, end) of `count` that a rank takes: contiguous, in rank order, sizes differ by one
/// at most.
struct RowRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};
[[nodiscard]] RowRange rows_of_rank(std::int64_t count, int rank, int size);

struct HeldOutOptions {
  std::int64_t rows = 0;             // the first so many of the source; 0 takes all
  std::int64_t microbatch_rows = 0;  // of one forward pass; 0 takes 8
};

/// Mean NLL per target in nats over the rows: "held_out_loss" over all of them, and
/// "held_out_loss/NAME" per source name that occurs. Weighted by targets exactly, in float64, so
/// the world size changes rounding alone. Collective. Errors: kInvalidArgument (an endless source
/// and rows = 0, or no target at all), kCorrupt where a loss is not finite, on all ranks alike.
[[nodiscard]] std::map<std::string, double> held_out_loss(
    const ModelConfig& config, const ParamMap& params, BatchSource& source,
    const HeldOutOptions& options, Communicator& comm, Workspace* workspace = nullptr);

}  // namespace growmerge::distributed
