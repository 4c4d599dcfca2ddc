// From tensors to kernels: operators that are element-wise or work on rows.
#include <ATen/cuda/cub.h>
#include <ATen/ops/empty.h>

#include "core/ops/cuda/here.h"
#include "core/ops/cuda/kernels.h"
#include "core/ops/cuda/table.h"
#include "core/ops/dispatch.h"

namespace growmerge::ops::cuda {
namespace {

/// Null where the tensor is undefined.
template <class T>
T* optional_data(const at::Tensor& tensor) {
  return tensor.defined() ? data<T>(tensor) : nullptr;
}

void add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& gain, double eps,
                  const at::Tensor& sum, const at::Tensor& y, const at::Tensor& rstd) {
  const Here here(x);
  dispatch(x.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::add_rms_norm(AddRmsNorm<T>{.rows = x.size(0),
                                     .d = x.size(1),
                                     .x = const_data<T>(x),
                                     .delta = delta.defined() ? const_data<T>(delta) : nullptr,
                                     .gain = const_data<T>(gain),
                                     .eps = eps,
                                     .sum = delta.defined() ? data<T>(sum) : nullptr,
                                     .y = data<T>(y),
                                     .rstd = data<Acc<T>>(rstd)},
                       here.stream());
  });
}

void apply_rms_norm(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& rstd,
                    const at::Tensor& y) {
  const Here here(x);
  dispatch(x.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::apply_rms_norm(ApplyRmsNorm<T>{.rows = x.size(0),
                                         .d = x.size(1),
                                         .x = const_data<T>(x),
                                         .gain = const_data<T>(gain),
                                         .rstd = const_data<Acc<T>>(rstd),
                                         .y = data<T>(y)},
                         here.stream());
  });
}

void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& gain,
                       const at::Tensor& rstd, const at::Tensor& dx, const at::Tensor& dgain) {
  const Here here(x);
  const at::Tensor partial = at::empty({rms_norm_parts(x.size(0)), x.size(1)}, dgain.options());
  dispatch(x.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::rms_norm_backward(RmsNormBackward<T>{.rows = x.size(0),
                                               .d = x.size(1),
                                               .dy = const_data<T>(dy),
                                               .x = const_data<T>(x),
                                               .gain = const_data<T>(gain),
                                               .rstd = const_data<Acc<T>>(rstd),
                                               .dx = data<T>(dx),
                                               .dgain = data<Acc<T>>(dgain),
                                               .partial = data<Acc<T>>(partial)},
                            here.stream());
  });
}

void rope_(const at::Tensor& x, std::int64_t head_dim, const RopeTable& table,
           const at::Tensor& positions, bool inverse) {
  GM_CHECK(table.cos.device() == x.device() && positions.device() == x.device(), kInvalidArgument,
           "RoPE on CUDA: the table and the positions must lie where x does, on ",
           x.device().str());
  const Here here(x);
  dispatch(x.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    rope(Rope<T>{.rows = x.size(0),
                 .heads = x.size(1) / head_dim,
                 .head_dim = head_dim,
                 .cos = const_data<float>(table.cos),
                 .sin = const_data<float>(table.sin),
                 .positions = const_data<std::int32_t>(positions),
                 .inverse = inverse,
                 .x = data<T>(x)},
         here.stream());
  });
}

void gated_forward(Activation activation, const at::Tensor& gate, const at::Tensor& up,
                   const at::Tensor& out) {
  const Here here(gate);
  dispatch(gate.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::gated_forward(Gated<T>{.activation = static_cast<int>(activation),
                                 .n = gate.numel(),
                                 .gate = data<T>(gate),
                                 .up = data<T>(up),
                                 .out = data<T>(out)},
                        here.stream());
  });
}

void gated_backward_(Activation activation, const at::Tensor& gate, const at::Tensor& up,
                     const at::Tensor& dout) {
  const Here here(gate);
  dispatch(gate.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    gated_backward(Gated<T>{.activation = static_cast<int>(activation),
                            .n = gate.numel(),
                            .gate = data<T>(gate),
                            .up = data<T>(up),
                            .out = data<T>(dout)},
                   here.stream());
  });
}

void softmax_tile_(const at::Tensor& logits, std::int64_t first, const at::Tensor& targets,
                   const at::Tensor& max, const at::Tensor& sum, const at::Tensor& at_target) {
  const Here here(logits);
  dispatch(logits.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    softmax_tile(SoftmaxTile<T>{.rows = logits.size(0),
                                .width = logits.size(1),
                                .first = first,
                                .logits = data<T>(logits),
                                .targets = const_data<std::int64_t>(targets),
                                .max = data<Acc<T>>(max),
                                .sum = data<Acc<T>>(sum),
                                .at_target = data<Acc<T>>(at_target)},
                 here.stream());
  });
}

/// For operators on tensors in the type of sums.
template <class Fn>
void dispatch_sums(at::ScalarType dtype, Fn&& fn) {
  if (dtype == at::ScalarType::Double) {
    fn(Type<double>{});
  } else {
    GM_ASSERT(dtype == at::ScalarType::Float);
    fn(Type<float>{});
  }
}

void combine_tiles_(const at::Tensor& max, const at::Tensor& sum, const at::Tensor& at_target,
                    const at::Tensor& targets, const at::Tensor& nll) {
  const Here here(max);
  dispatch_sums(max.scalar_type(), [&](auto type) {
    using A = typename decltype(type)::type;
    combine_tiles(CombineTiles<A>{.tiles = max.size(0),
                                  .rows = max.size(1),
                                  .max = data<A>(max),
                                  .sum = const_data<A>(sum),
                                  .at_target = const_data<A>(at_target),
                                  .targets = const_data<std::int64_t>(targets),
                                  .nll = data<A>(nll)},
                  here.stream());
  });
}

void subtract_targets(const at::Tensor& targets, double scale, const at::Tensor& weight,
                      const at::Tensor& x, const at::Tensor& dx, const at::Tensor& scaled) {
  const Here here(x);
  dispatch(x.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::subtract_targets(SubtractTargets<T>{.rows = x.size(0),
                                              .d = x.size(1),
                                              .targets = const_data<std::int64_t>(targets),
                                              .scale = scale,
                                              .weight = const_data<T>(weight),
                                              .x = const_data<T>(x),
                                              .dx = data<Acc<T>>(dx),
                                              .scaled = data<T>(scaled)},
                           here.stream());
  });
}

void log_probs(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& log_prob,
               const at::Tensor& greedy) {
  const Here here(logits);
  dispatch(logits.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::log_probs(LogProbs<T>{.rows = logits.size(0),
                                .width = logits.size(1),
                                .logits = const_data<T>(logits),
                                .targets = const_data<std::int64_t>(targets),
                                .log_prob = data<Acc<T>>(log_prob),
                                .greedy = optional_data<bool>(greedy)},
                    here.stream());
  });
}

void scale_rows(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& y) {
  const Here here(x);
  dispatch(x.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::scale_rows(ScaleRows<T>{.rows = x.size(0),
                                  .d = x.size(1),
                                  .x = const_data<T>(x),
                                  .scale = const_data<Acc<T>>(scale),
                                  .y = data<T>(y)},
                     here.stream());
  });
}

void add_scaled_rows(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& sum) {
  const Here here(x);
  dispatch(x.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::add_scaled_rows(ScaleRows<T>{.rows = x.size(0),
                                       .d = x.size(1),
                                       .x = const_data<T>(x),
                                       .scale = const_data<Acc<T>>(scale),
                                       .sum = data<Acc<T>>(sum)},
                          here.stream());
  });
}

void embedding_forward(const at::Tensor& tokens, const at::Tensor& table, const at::Tensor& x) {
  const Here here(table);
  dispatch(table.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::embedding_forward(EmbeddingForward<T>{.n = tokens.numel(),
                                                .d = table.size(1),
                                                .tokens = const_data<std::int64_t>(tokens),
                                                .table = const_data<T>(table),
                                                .x = data<T>(x)},
                            here.stream());
  });
}

void embedding_backward(const at::Tensor& tokens, const at::Tensor& dx, const at::Tensor& dtable) {
  const Here here(dx);
  const std::int64_t n = tokens.numel();
  GM_CHECK(n <= INT32_MAX && dtable.size(0) < INT32_MAX, kUnsupported,
           "embedding gradient on CUDA: ", n, " tokens of a vocabulary of ", dtable.size(0),
           "; both must be below 2^31");
  const auto vocab = static_cast<std::int32_t>(dtable.size(0));
  // Unsorted and sorted keys, unsorted and sorted positions.
  const at::Tensor scratch = at::empty({4, n}, tokens.options().dtype(at::ScalarType::Int));
  auto* keys = data<std::int32_t>(scratch);
  embedding_keys(n, vocab, const_data<std::int64_t>(tokens), keys, keys + 2 * n, here.stream());
  // Stable, so positions stay in order within a token.
  at::cuda::cub::radix_sort_pairs<std::int32_t, std::int32_t>(
      keys, keys + n, keys + 2 * n, keys + 3 * n, n, false, 0,
      at::cuda::cub::get_num_bits(static_cast<std::uint64_t>(vocab)));
  dispatch(dx.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::embedding_backward(EmbeddingBackward<T>{.n = n,
                                                  .d = dx.size(1),
                                                  .vocab = vocab,
                                                  .keys = keys + n,
                                                  .positions = keys + 3 * n,
                                                  .dx = const_data<T>(dx),
                                                  .dtable = data<Acc<T>>(dtable)},
                             here.stream());
  });
}

void row_losses(const at::Tensor& nll, const at::Tensor& targets, std::int64_t row_tokens,
                const at::Tensor& loss_sum, const at::Tensor& num_targets) {
  GM_ASSERT(nll.numel() == loss_sum.numel() * row_tokens && targets.numel() == nll.numel());
  const Here here(nll);
  dispatch_sums(nll.scalar_type(), [&](auto type) {
    using A = typename decltype(type)::type;
    cuda::row_losses(RowLosses<A>{.rows = loss_sum.numel(),
                                  .row_tokens = row_tokens,
                                  .nll = const_data<A>(nll),
                                  .targets = const_data<std::int64_t>(targets),
                                  .loss_sum = data<double>(loss_sum),
                                  .num_targets = data<std::int64_t>(num_targets)},
                     here.stream());
  });
}

}  // namespace

void fill_row_ops(CudaOps& ops) {
  ops.add_rms_norm = add_rms_norm;
  ops.apply_rms_norm = apply_rms_norm;
  ops.rms_norm_backward = rms_norm_backward;
  ops.rope_ = rope_;
  ops.gated_forward = gated_forward;
  ops.gated_backward_ = gated_backward_;
  ops.softmax_tile_ = softmax_tile_;
  ops.combine_tiles_ = combine_tiles_;
  ops.subtract_targets = subtract_targets;
  ops.log_probs = log_probs;
  ops.scale_rows = scale_rows;
  ops.add_scaled_rows = add_scaled_rows;
  ops.embedding_forward = embedding_forward;
  ops.embedding_backward = embedding_backward;
  ops.row_losses = row_losses;
}

}  // namespace growmerge::ops::cuda
