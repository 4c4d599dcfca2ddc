#include "distributed/held_out.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/transformer/transformer.h"

namespace growmerge::distributed {

RowRange rows_of_rank(std::int64_t count, int rank, int size) {
  return {count * rank / size, count * (rank + 1) / size};
}

std::map<std::string, double> held_out_loss(const ModelConfig& config, const ParamMap& params,
                                            BatchSource& source, const HeldOutOptions& options,
                                            Communicator& comm, Workspace* workspace) {
  const std::int64_t available = source.num_rows();
  GM_CHECK(available >= 0 || options.rows > 0, kInvalidArgument,
           "held-out rows never end: set eval_rows");
  const std::int64_t rows = options.rows <= 0 ? available
                            : available < 0   ? options.rows
                                              : std::min(options.rows, available);
  // In training 0 takes all of a rank's rows at once; here they may be thousands.
  const std::int64_t micro = options.microbatch_rows > 0 ? options.microbatch_rows : 8;
  const auto& names = source.source_names();
  // Per source: sum of NLL and number of targets.
  at::Tensor sums = at::zeros({static_cast<std::int64_t>(names.size()), 2}, at::kDouble);
  auto* sum = sums.data_ptr<double>();
  run_agreed(comm, [&] {
    const RowRange mine = rows_of_rank(rows, comm.rank(), comm.size());
    for (std::int64_t row = mine.begin; row < mine.end; row += micro) {
      const Batch batch = source.rows(row, std::min(micro, mine.end - row));
      const LossResult loss = forward_loss(config, params, batch, workspace);
      for (std::size_t i = 0; i < loss.row_loss_sum.size(); ++i) {
        // A mean with one NaN row would hide which row it was.
        GM_CHECK(std::isfinite(loss.row_loss_sum[i]), kCorrupt, "held-out row ",
                 row + static_cast<std::int64_t>(i), ": the loss is ", loss.row_loss_sum[i]);
        const auto name = static_cast<std::size_t>(batch.row_sources[i]);
        sum[2 * name] += loss.row_loss_sum[i];
        sum[2 * name + 1] += static_cast<double>(loss.row_num_targets[i]);
      }
    }
  });
  // Sums and counts, and never means of means: ranks have rows of different lengths.
  comm.all_reduce(sums, ReduceOp::kSum);
  std::map<std::string, double> out;
  double total = 0.0;
  double targets = 0.0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (sum[2 * i + 1] > 0.0) {
      out["held_out_loss/" + names[i]] = sum[2 * i] / sum[2 * i + 1];
      total += sum[2 * i];
      targets += sum[2 * i + 1];
    }
  }
  GM_CHECK(targets > 0.0, kInvalidArgument, "held-out data: ", rows, " rows hold no target");
  out["held_out_loss"] = total / targets;
  return out;
}

}  // namespace growmerge::distributed
