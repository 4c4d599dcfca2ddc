#include "eval/sequence_scorer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/error.h"
#include "core/base/progress.h"
#include "core/model/tensor_table.h"
#include "core/ops/rope.h"
#include "core/transformer/transformer.h"

namespace growmerge::eval {
namespace {

std::int64_t num_inputs(const ScoreRequest& request) {
  return static_cast<std::int64_t>(request.tokens.size()) - 1;
}
bool scores_something(const ScoreRequest& request) {
  return static_cast<std::int64_t>(request.tokens.size()) > request.first_scored;
}

/// How many inputs two sequences begin with in common: their computation is the same.
std::size_t shared_inputs(const ScoreRequest& a, const ScoreRequest& b) {
  const std::size_t most = std::min(a.tokens.size(), b.tokens.size());
  std::size_t count = 0;
  while (count < most && a.tokens[count] == b.tokens[count]) {
    ++count;
  }
  return std::min({count, a.tokens.size() - 1, b.tokens.size() - 1});
}

/// A batch as a forest: a position for every different beginning of a sequence, a score for every
/// different (beginning, next token).
struct Packed {
  std::vector<std::int64_t> inputs;          // [N] token of each position
  std::vector<std::int32_t> segment_starts;  // [segments + 1] runs of one sequence's new positions
  ops::Prefixes prefixes;                    // what each run continues
  std::vector<std::int64_t> rows;            // [M] positions whose next token is scored
  std::vector<std::int64_t> targets;         // [M] that token
  std::vector<std::vector<std::int32_t>> scores;  // for each sequence, its scores in order
};

/// A RoPE of type longrope turns a long text otherwise than a short one from its beginning on.
bool turn_alike(const RopeParameters& rope, const ScoreRequest& a, const ScoreRequest& b) {
  return ops::rope_offset(rope, num_inputs(a)) == ops::rope_offset(rope, num_inputs(b));
}

Packed pack(const RopeParameters& rope, const std::vector<ScoreRequest>& requests,
            const std::vector<std::int64_t>& batch) {
  Packed packed;
  packed.segment_starts.push_back(0);
  // Of the sequence before: its positions, and for each token its score (-1: not made).
  std::vector<std::int32_t> path;
  std::vector<std::int32_t> scored;
  const ScoreRequest* before = nullptr;
  for (const std::int64_t index : batch) {
    const ScoreRequest& request = requests[static_cast<std::size_t>(index)];
    const auto inputs = static_cast<std::size_t>(num_inputs(request));
    const std::size_t shared = before == nullptr || !turn_alike(rope, *before, request)
                                   ? 0
                                   : shared_inputs(*before, request);
    path.resize(shared);
    if (shared < inputs) {
      packed.prefixes.rows.insert(packed.prefixes.rows.end(), path.begin(), path.end());
      packed.prefixes.starts.push_back(static_cast<std::int64_t>(packed.prefixes.rows.size()));
      for (std::size_t i = shared; i < inputs; ++i) {
        path.push_back(static_cast<std::int32_t>(packed.inputs.size()));
        packed.inputs.push_back(request.tokens[i]);
      }
      packed.segment_starts.push_back(static_cast<std::int32_t>(packed.inputs.size()));
    }
    // Where one of the two ends, its last token may be shared as well.
    const bool also_last = before != nullptr && before->tokens[shared] == request.tokens[shared];
    scored.resize(shared + (also_last ? 1 : 0));
    scored.resize(request.tokens.size(), -1);
    std::vector<std::int32_t>& scores = packed.scores.emplace_back();
    for (auto i = static_cast<std::size_t>(request.first_scored); i < request.tokens.size(); ++i) {
      if (scored[i] < 0) {
        scored[i] = static_cast<std::int32_t>(packed.rows.size());
        packed.rows.push_back(path[i - 1]);
        packed.targets.push_back(request.tokens[i]);
      }
      scores.push_back(scored[i]);
    }
    before = &request;
  }
  return packed;
}

at::Tensor as_tensor(std::vector<std::int64_t>& values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kLong);
}

void score_batch(const Model& model, const std::vector<ScoreRequest>& requests,
                 const std::vector<std::int64_t>& batch,
                 const std::function<std::string(std::int64_t)>& name_of, Workspace& workspace,
                 double* sums) {
  Packed packed = pack(model.config.rope, requests, batch);
  const at::Device device = model.params.at(tensor_name(Role::kEmbedding)).device();
  const at::Tensor hidden_ND =
      hidden_states(model.config, model.params, as_tensor(packed.inputs).to(device),
                    packed.segment_starts, &workspace, &packed.prefixes)
          .index_select(0, as_tensor(packed.rows).to(device));
  const at::Tensor scores =
      target_log_probs(model.config, model.params, hidden_ND, as_tensor(packed.targets).to(device),
                       nullptr, &workspace)
          .to(at::kCPU, at::kDouble)
          .contiguous();
  const double* score = scores.data_ptr<double>();
  for (std::size_t i = 0; i < batch.size(); ++i) {
    double sum = 0.0;
    for (const std::int32_t place : packed.scores[i]) {
      sum += score[place];
    }
    GM_CHECK(std::isfinite(sum), kCorrupt, "the score of ", name_of(batch[i]), " is ", sum,
             ": the model's weights or activations are broken (NaN, infinity or overflow in ",
             c10::toString(hidden_ND.scalar_type()), "); nothing was scored");
    sums[batch[i]] = sum;
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
    if (scores_something(requests[i])) {
      order.push_back(static_cast<std::int64_t>(i));
    }
  }
  const auto at = [&requests](std::int64_t index) -> const ScoreRequest& {
    return requests[static_cast<std::size_t>(index)];
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return at(a).tokens < at(b).tokens; });
  std::vector<std::vector<std::int64_t>> batches;
  std::int64_t filled = 0;
  for (const std::int64_t index : order) {
    std::int64_t size = num_inputs(at(index));
    const std::int64_t whole = size;
    if (!batches.empty()) {
      size -= static_cast<std::int64_t>(shared_inputs(at(batches.back().back()), at(index)));
    }
    if (batches.empty() || filled + std::max<std::int64_t>(size, 1) > batch_tokens) {
      batches.emplace_back();
      filled = 0;
      size = whole;
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
    Workspace workspace;
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
