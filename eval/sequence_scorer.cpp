#include "eval/sequence_scorer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/progress.h"
#include "core/transformer.h"

namespace growmerge::eval {
namespace {

std::int64_t num_inputs(const ScoreRequest& request) {
  return static_cast<std::int64_t>(request.tokens.size()) - 1;
}
std::int64_t num_scored(const ScoreRequest& request) {
  return std::max<std::int64_t>(
      0, static_cast<std::int64_t>(request.tokens.size()) - request.first_scored);
}

/// The packed inputs of one batch: positions to score and what stands there.
struct Packed {
  at::Tensor inputs;                         // int64 [N]
  std::vector<std::int32_t> segment_starts;  // [segments + 1]
  at::Tensor rows;                           // int64 [M], positions whose prediction is scored
  at::Tensor targets;                        // int64 [M]
};

Packed pack(const std::vector<ScoreRequest>& requests, const std::vector<std::int64_t>& batch) {
  std::int64_t total_inputs = 0;
  std::int64_t total_scored = 0;
  for (const std::int64_t index : batch) {
    total_inputs += num_inputs(requests[static_cast<std::size_t>(index)]);
    total_scored += num_scored(requests[static_cast<std::size_t>(index)]);
  }
  Packed packed{at::empty({total_inputs}, at::kLong),
                {0},
                at::empty({total_scored}, at::kLong),
                at::empty({total_scored}, at::kLong)};
  auto* inputs = packed.inputs.data_ptr<std::int64_t>();
  auto* rows = packed.rows.data_ptr<std::int64_t>();
  auto* targets = packed.targets.data_ptr<std::int64_t>();
  std::int64_t position = 0;
  for (const std::int64_t index : batch) {
    const ScoreRequest& request = requests[static_cast<std::size_t>(index)];
    for (std::int64_t i = 0; i < num_inputs(request); ++i) {
      inputs[position] = request.tokens[static_cast<std::size_t>(i)];
      if (i + 1 >= request.first_scored) {
        *rows++ = position;
        *targets++ = request.tokens[static_cast<std::size_t>(i) + 1];
      }
      ++position;
    }
    packed.segment_starts.push_back(static_cast<std::int32_t>(position));
  }
  return packed;
}

void score_batch(const Model& model, const std::vector<ScoreRequest>& requests,
                 const std::vector<std::int64_t>& batch,
                 const std::function<std::string(std::int64_t)>& name_of, Workspace& workspace,
                 double* sums) {
  const Packed packed = pack(requests, batch);
  const at::Device device = model.params.at("model.embed_tokens.weight").device();
  at::Tensor hidden_ND = hidden_states(model.config, model.params, packed.inputs.to(device),
                                       packed.segment_starts, &workspace);
  if (packed.rows.size(0) != packed.inputs.size(0)) {
    hidden_ND = hidden_ND.index_select(0, packed.rows.to(device));
  }
  const at::Tensor scores = target_log_probs(model.config, model.params, hidden_ND,
                                             packed.targets.to(device), nullptr, &workspace)
                                .to(at::kCPU, at::kDouble)
                                .contiguous();
  const double* score = scores.data_ptr<double>();
  for (const std::int64_t index : batch) {
    const std::int64_t count = num_scored(requests[static_cast<std::size_t>(index)]);
    const double sum = std::accumulate(score, score + count, 0.0);
    GM_CHECK(std::isfinite(sum), kCorrupt, "the score of ", name_of(index), " is ", sum,
             ": the model's weights or activations are broken (NaN, infinity or overflow in ",
             c10::toString(hidden_ND.scalar_type()), "); nothing was scored");
    sums[index] = sum;
    score += count;
  }
}

void check_requests(const Model& model, const std::vector<ScoreRequest>& requests,
                    const std::function<std::string(std::int64_t)>& name_of) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    GM_ASSERT(requests[i].first_scored >= 1);
    for (const std::int32_t token : requests[i].tokens) {
      GM_CHECK(token >= 0 && token < model.config.vocab_size, kMismatch,
               name_of(static_cast<std::int64_t>(i)), ": token ", token,
               " is outside the model's vocabulary of ", model.config.vocab_size,
               ": is this the model's tokenizer?");
    }
  }
}

}  // namespace

std::vector<std::vector<std::int64_t>> make_batches(const std::vector<ScoreRequest>& requests,
                                                    std::int64_t batch_tokens) {
  GM_CHECK(batch_tokens >= 1, kInvalidArgument, "batch_tokens is ", batch_tokens,
           ", expected at least 1");
  std::vector<std::int64_t> order;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (num_scored(requests[i]) > 0) {
      order.push_back(static_cast<std::int64_t>(i));
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return requests[static_cast<std::size_t>(a)].tokens.size() >
           requests[static_cast<std::size_t>(b)].tokens.size();
  });
  std::vector<std::vector<std::int64_t>> batches;
  std::int64_t filled = 0;
  for (const std::int64_t index : order) {
    const std::int64_t size = num_inputs(requests[static_cast<std::size_t>(index)]);
    if (batches.empty() || filled + size > batch_tokens) {
      batches.emplace_back();
      filled = 0;
    }
    batches.back().push_back(index);
    filled += size;
  }
  return batches;
}

std::vector<double> score_sums(const Model& model, const std::vector<ScoreRequest>& requests,
                               const std::function<std::string(std::int64_t)>& name_of,
                               const ScorerOptions& options, Communicator& comm) {
  std::vector<double> sums(requests.size(), 0.0);
  run_agreed(comm, [&] {
    check_requests(model, requests, name_of);
    const auto batches = make_batches(requests, options.batch_tokens);
    Workspace workspace;  // batches differ in size: the longest sequences come first
    Progress progress(options.title, static_cast<std::int64_t>(batches.size()), "batches",
                      options.show_progress && comm.is_root());
    for (std::size_t b = static_cast<std::size_t>(comm.rank()); b < batches.size();
         b += static_cast<std::size_t>(comm.size())) {
      score_batch(model, requests, batches[b], name_of, workspace, sums.data());
      progress.update(static_cast<std::int64_t>(b) + 1);
    }
    progress.finish();
  });
  if (!sums.empty()) {
    // Every request has one owner and zeros elsewhere, so that this sum is exact.
    comm.all_reduce(
        at::from_blob(sums.data(), {static_cast<std::int64_t>(sums.size())}, at::kDouble),
        ReduceOp::kSum);
  }
  return sums;
}

}  // namespace growmerge::eval
