// From tensors to kernels: operators that are element-wise or work on rows. Each takes the pointers
// and extents out of its tensors and enqueues its kernel; names and shapes are those of
// core/ops/*.h (legend: core/ops/kernels/kernels.h).
#include <ATen/cuda/cub.h>
#include <ATen/ops/empty.h>

#include "core/contracts/batch_source.h"
#include "core/ops/cuda/here.h"
#include "core/ops/cuda/kernels.h"
#include "core/ops/cuda/table.h"
#include "core/ops/dispatch.h"

namespace growmerge::ops::cuda {
namespace {

static_assert(kIgnoredTarget == Batch::kIgnoredTarget);

/// Null where the tensor is undefined.
template <class T>
T* optional_data(const at::Tensor& tensor) {
  return tensor.defined() ? data<T>(tensor) : nullptr;
}

void add_rms_norm(const at::Tensor& x_ND, const at::Tensor& delta_ND, const Gain& gain, double eps,
                  const at::Tensor& sum_ND, const at::Tensor& y_ND, const at::Tensor& rstd_N) {
  const Here here(x_ND);
  dispatch(x_ND.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::add_rms_norm(
        AddRmsNorm<T>{.rows = x_ND.size(0),
                      .d = x_ND.size(1),
                      .x = const_data<T>(x_ND),
                      .delta = delta_ND.defined() ? const_data<T>(delta_ND) : nullptr,
                      .gain = const_data<T>(gain.values_D),
                      .offset = gain.offset,
                      .eps = eps,
                      .sum = delta_ND.defined() ? data<T>(sum_ND) : nullptr,
                      .y = data<T>(y_ND),
                      .rstd = data<Acc<T>>(rstd_N)},
        here.stream());
  });
}

void apply_rms_norm(const at::Tensor& x_ND, const Gain& gain, const at::Tensor& rstd_N,
                    const at::Tensor& y_ND) {
  const Here here(x_ND);
  dispatch(x_ND.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::apply_rms_norm(ApplyRmsNorm<T>{.rows = x_ND.size(0),
                                         .d = x_ND.size(1),
                                         .x = const_data<T>(x_ND),
                                         .gain = const_data<T>(gain.values_D),
                                         .offset = gain.offset,
                                         .rstd = const_data<Acc<T>>(rstd_N),
                                         .y = data<T>(y_ND)},
                         here.stream());
  });
}

void rms_norm_backward(const at::Tensor& dy_ND, const at::Tensor& x_ND, const Gain& gain,
                       const at::Tensor& rstd_N, const at::Tensor& dx_ND,
                       const at::Tensor& dgain_D) {
  const Here here(x_ND);
  // One sum of dgain for each part of the rows, freed on return: the allocator reuses it in stream
  // order.
  const at::Tensor partial =
      at::empty({rms_norm_parts(x_ND.size(0)), x_ND.size(1)}, dgain_D.options());
  dispatch(x_ND.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::rms_norm_backward(RmsNormBackward<T>{.rows = x_ND.size(0),
                                               .d = x_ND.size(1),
                                               .dy = const_data<T>(dy_ND),
                                               .x = const_data<T>(x_ND),
                                               .gain = const_data<T>(gain.values_D),
                                               .offset = gain.offset,
                                               .rstd = const_data<Acc<T>>(rstd_N),
                                               .dx = data<T>(dx_ND),
                                               .dgain = data<Acc<T>>(dgain_D),
                                               .partial = data<Acc<T>>(partial)},
                            here.stream());
  });
}

void rope_(const at::Tensor& x_NHh, std::int64_t head_dim, const RopeTable& table,
           const at::Tensor& positions_N, bool inverse) {
  GM_CHECK(table.cos.device() == x_NHh.device() && positions_N.device() == x_NHh.device(),
           kInvalidArgument, "RoPE on CUDA: the table and the positions must lie where x does, on ",
           x_NHh.device().str());
  const Here here(x_NHh);
  dispatch(x_NHh.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    rope(Rope<T>{.rows = x_NHh.size(0),
                 .heads = x_NHh.size(1) / head_dim,
                 .head_dim = head_dim,
                 .pairs = table.cos.size(1),
                 .cos = const_data<float>(table.cos),
                 .sin = const_data<float>(table.sin),
                 .positions = const_data<std::int32_t>(positions_N),
                 .inverse = inverse,
                 .x = data<T>(x_NHh)},
         here.stream());
  });
}

void gated_forward(Activation activation, const at::Tensor& gate_NF, const at::Tensor& up_NF,
                   const at::Tensor& out_NF) {
  const Here here(gate_NF);
  dispatch(gate_NF.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::gated_forward(GatedForward<T>{.activation = static_cast<int>(activation),
                                        .n = gate_NF.numel(),
                                        .gate = const_data<T>(gate_NF),
                                        .up = const_data<T>(up_NF),
                                        .out = data<T>(out_NF)},
                        here.stream());
  });
}

void gated_backward_(Activation activation, const at::Tensor& gate_to_dgate_NF,
                     const at::Tensor& up_to_dup_NF, const at::Tensor& dout_to_out_NF) {
  const Here here(gate_to_dgate_NF);
  dispatch(gate_to_dgate_NF.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    gated_backward(GatedBackward<T>{.activation = static_cast<int>(activation),
                                    .n = gate_to_dgate_NF.numel(),
                                    .gate_to_dgate = data<T>(gate_to_dgate_NF),
                                    .up_to_dup = data<T>(up_to_dup_NF),
                                    .dout_to_out = data<T>(dout_to_out_NF)},
                   here.stream());
  });
}

void softmax_tile_(const at::Tensor& logits_to_exps_CT, std::int64_t first,
                   const at::Tensor& targets_C, const at::Tensor& max_C, const at::Tensor& sum_C,
                   const at::Tensor& at_target_C) {
  const Here here(logits_to_exps_CT);
  dispatch(logits_to_exps_CT.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    softmax_tile(SoftmaxTile<T>{.rows = logits_to_exps_CT.size(0),
                                .width = logits_to_exps_CT.size(1),
                                .first = first,
                                .logits_to_exps = data<T>(logits_to_exps_CT),
                                .targets = const_data<std::int64_t>(targets_C),
                                .max = data<Acc<T>>(max_C),
                                .sum = data<Acc<T>>(sum_C),
                                .at_target = data<Acc<T>>(at_target_C)},
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

void combine_tiles_(const at::Tensor& max_to_factor_JC, const at::Tensor& sum_JC,
                    const at::Tensor& at_target_C, const at::Tensor& targets_C,
                    const at::Tensor& nll_C) {
  const Here here(max_to_factor_JC);
  dispatch_sums(max_to_factor_JC.scalar_type(), [&](auto type) {
    using A = typename decltype(type)::type;
    combine_tiles(CombineTiles<A>{.tiles = max_to_factor_JC.size(0),
                                  .rows = max_to_factor_JC.size(1),
                                  .max_to_factor = data<A>(max_to_factor_JC),
                                  .sum = const_data<A>(sum_JC),
                                  .at_target = const_data<A>(at_target_C),
                                  .targets = const_data<std::int64_t>(targets_C),
                                  .nll = data<A>(nll_C)},
                  here.stream());
  });
}

void subtract_targets_(const at::Tensor& exps_to_grads_CT, std::int64_t first,
                       const at::Tensor& targets_C, const at::Tensor& nll_C,
                       const at::Tensor& slope_C, const at::Tensor& factor_C) {
  const Here here(exps_to_grads_CT);
  dispatch(exps_to_grads_CT.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::subtract_targets(
        SubtractTargets<T>{.rows = exps_to_grads_CT.size(0),
                           .width = exps_to_grads_CT.size(1),
                           .first = first,
                           .exps_to_grads = data<T>(exps_to_grads_CT),
                           .targets = const_data<std::int64_t>(targets_C),
                           .nll = const_data<Acc<T>>(nll_C),
                           .slope = slope_C.defined() ? const_data<Acc<T>>(slope_C) : nullptr,
                           .factor = data<Acc<T>>(factor_C)},
        here.stream());
  });
}

void log_probs(const at::Tensor& logits_CV, const at::Tensor& targets_C,
               const at::Tensor& log_prob_C, const at::Tensor& greedy_C) {
  const Here here(logits_CV);
  dispatch(logits_CV.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::log_probs(LogProbs<T>{.rows = logits_CV.size(0),
                                .width = logits_CV.size(1),
                                .logits = const_data<T>(logits_CV),
                                .targets = const_data<std::int64_t>(targets_C),
                                .log_prob = data<Acc<T>>(log_prob_C),
                                .greedy = optional_data<bool>(greedy_C)},
                    here.stream());
  });
}

void scale_rows(const at::Tensor& x_CD, const at::Tensor& scale_C, const at::Tensor& y_CD) {
  const Here here(x_CD);
  dispatch(x_CD.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::scale_rows(ScaleRows<T>{.rows = x_CD.size(0),
                                  .d = x_CD.size(1),
                                  .x = const_data<T>(x_CD),
                                  .scale = const_data<Acc<T>>(scale_C),
                                  .y = data<T>(y_CD)},
                     here.stream());
  });
}

void add_scaled_rows(const at::Tensor& x_CD, const at::Tensor& scale_C, const at::Tensor& sum_CD) {
  const Here here(x_CD);
  dispatch(x_CD.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::add_scaled_rows(ScaleRows<T>{.rows = x_CD.size(0),
                                       .d = x_CD.size(1),
                                       .x = const_data<T>(x_CD),
                                       .scale = const_data<Acc<T>>(scale_C),
                                       .sum = data<Acc<T>>(sum_CD)},
                          here.stream());
  });
}

void embedding_forward(const at::Tensor& tokens_N, const at::Tensor& table_VD,
                       const at::Tensor& x_ND) {
  const Here here(table_VD);
  dispatch(table_VD.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::embedding_forward(EmbeddingForward<T>{.n = tokens_N.numel(),
                                                .d = table_VD.size(1),
                                                .tokens = const_data<std::int64_t>(tokens_N),
                                                .table = const_data<T>(table_VD),
                                                .x = data<T>(x_ND)},
                            here.stream());
  });
}

void embedding_backward(const at::Tensor& tokens_N, const at::Tensor& dx_ND,
                        const at::Tensor& dtable_VD) {
  const Here here(dx_ND);
  const std::int64_t n = tokens_N.numel();
  GM_CHECK(n <= INT32_MAX && dtable_VD.size(0) < INT32_MAX, kUnsupported,
           "embedding gradient on CUDA: ", n, " tokens of a vocabulary of ", dtable_VD.size(0),
           "; both must be below 2^31");
  const auto vocab = static_cast<std::int32_t>(dtable_VD.size(0));
  // One buffer, four arrays [N]: the sort does not work in place.
  const at::Tensor scratch_4N = at::empty({4, n}, tokens_N.options().dtype(at::ScalarType::Int));
  auto* keys = data<std::int32_t>(scratch_4N);
  auto* sorted_keys = keys + n;
  auto* positions = keys + 2 * n;
  auto* sorted_positions = keys + 3 * n;
  embedding_keys(n, vocab, const_data<std::int64_t>(tokens_N), keys, positions, here.stream());
  // Stable, so positions stay in order within a token. Only the bits that a key can have.
  at::cuda::cub::radix_sort_pairs<std::int32_t, std::int32_t>(
      keys, sorted_keys, positions, sorted_positions, n, false, 0,
      at::cuda::cub::get_num_bits(static_cast<std::uint64_t>(vocab)));
  dispatch(dx_ND.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::embedding_backward(EmbeddingBackward<T>{.n = n,
                                                  .d = dx_ND.size(1),
                                                  .vocab = vocab,
                                                  .keys = sorted_keys,
                                                  .positions = sorted_positions,
                                                  .dx = const_data<T>(dx_ND),
                                                  .dtable = data<Acc<T>>(dtable_VD)},
                             here.stream());
  });
}

void row_losses(const at::Tensor& nll_N, const at::Tensor& targets_N, std::int64_t row_tokens,
                const at::Tensor& loss_sum_R, const at::Tensor& num_targets_R) {
  GM_ASSERT(nll_N.numel() == loss_sum_R.numel() * row_tokens && targets_N.numel() == nll_N.numel());
  const Here here(nll_N);
  dispatch_sums(nll_N.scalar_type(), [&](auto type) {
    using A = typename decltype(type)::type;
    cuda::row_losses(RowLosses<A>{.rows = loss_sum_R.numel(),
                                  .row_tokens = row_tokens,
                                  .nll = const_data<A>(nll_N),
                                  .targets = const_data<std::int64_t>(targets_N),
                                  .loss_sum = data<double>(loss_sum_R),
                                  .num_targets = data<std::int64_t>(num_targets_R)},
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
  ops.subtract_targets_ = subtract_targets_;
  ops.log_probs = log_probs;
  ops.scale_rows = scale_rows;
  ops.add_scaled_rows = add_scaled_rows;
  ops.embedding_forward = embedding_forward;
  ops.embedding_backward = embedding_backward;
  ops.row_losses = row_losses;
}

}  // namespace growmerge::ops::cuda
