// Flash attention of LibTorch for bfloat16, our own kernels for whatever it does not take.
//
// Shapes (legend: core/ops/kernels/kernels.h): q, out, dout, dq [N, H h]; k, v, dk, dv [N, K h];
// lse, delta [H, N].
#include <ATen/Context.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <optional>

#include "core/ops/cuda/here.h"
#include "core/ops/cuda/kernels.h"
#include "core/ops/cuda/table.h"
#include "core/ops/dispatch.h"

namespace growmerge::ops::cuda {
namespace {

/// What LibTorch's flash attention is compiled for. Its interface has no soft cap.
bool takes_flash(const AttentionShape& shape, const at::Tensor& q) {
  return q.is_cuda() && q.scalar_type() == at::ScalarType::BFloat16 && shape.head_dim % 8 == 0 &&
         shape.head_dim <= 256 && shape.soft_cap == 0.0;
}

/// Keys before a query's own that it sees, as flash attention counts them.
std::optional<std::int64_t> window_left(const AttentionShape& shape) {
  return shape.window == 0 ? std::nullopt : std::optional(shape.window - 1);
}
/// With a window on the left flash attention wants one on the right, too: none, as it is causal.
std::optional<std::int64_t> window_right(const AttentionShape& shape) {
  return shape.window == 0 ? std::nullopt : std::optional<std::int64_t>(0);
}

void check_segments(const Segments& segments, const at::Tensor& q) {
  const at::Tensor& starts = segments.device_starts;
  GM_CHECK(starts.defined() && starts.device() == q.device() && starts.is_contiguous() &&
               starts.numel() >= 2 && starts.scalar_type() == at::ScalarType::Int &&
               segments.longest > 0,
           kInvalidArgument,
           "attention on CUDA: segments need device_starts (int32 on the device, two or more) and "
           "the longest one's length");
}

/// Flash attention takes no maximum of one position: it would answer in another layout.
std::int64_t longest(const Segments& segments) {
  return std::max<std::int64_t>(2, segments.longest);
}

/// [N, H h] as [N, H, h]: a view.
at::Tensor heads(const at::Tensor& x, std::int64_t head_dim) {
  return x.view({x.size(0), x.size(1) / head_dim, head_dim});
}

/// Flash attention's backward pass sums dq in a fixed order while this lives. LibTorch asks a
/// global setting, so it is put back, along with that which would fill new tensors with NaN.
class FixedOrder {
 public:
  FixedOrder()
      : was_on_(context().deterministicAlgorithms()),
        warned_only_(context().deterministicAlgorithmsWarnOnly()),
        filled_(context().deterministicFillUninitializedMemory()) {
    context().setDeterministicAlgorithms(true, false);
    context().setDeterministicFillUninitializedMemory(false);
  }
  ~FixedOrder() {
    context().setDeterministicAlgorithms(was_on_, warned_only_);
    context().setDeterministicFillUninitializedMemory(filled_);
  }
  FixedOrder(const FixedOrder&) = delete;
  FixedOrder& operator=(const FixedOrder&) = delete;

 private:
  static at::Context& context() { return at::globalContext(); }
  bool was_on_;
  bool warned_only_;
  bool filled_;
};

/// What forward and backward have in common.
template <class T>
Attention<T> arguments(const AttentionShape& shape, std::int64_t num_keys, const at::Tensor& q_NHh,
                       const at::Tensor& k_NKh, const at::Tensor& v_NKh, const at::Tensor& out_NHh,
                       const at::Tensor& lse_HN) {
  return {.n = q_NHh.size(0),
          .num_keys = num_keys,
          .heads = shape.num_heads,
          .kv_heads = shape.num_kv_heads,
          .head_dim = shape.head_dim,
          .scale = shape.score_scale(),
          .soft_cap = shape.soft_cap,
          .window = shape.window,
          .q = const_data<T>(q_NHh),
          .k = const_data<T>(k_NKh),
          .v = const_data<T>(v_NKh),
          .out = data<T>(out_NHh),
          .lse = lse_HN.defined() ? data<Acc<T>>(lse_HN) : nullptr};
}

template <class T>
void set_segments(const Segments& segments, Attention<T>& a) {
  a.starts = const_data<std::int32_t>(segments.device_starts);
  a.segments = segments.device_starts.numel() - 1;
}

void attention_forward(const AttentionShape& shape, const Segments& segments,
                       const at::Tensor& q_NHh, const at::Tensor& k_NKh, const at::Tensor& v_NKh,
                       const at::Tensor& out_NHh, const at::Tensor& lse_HN,
                       const Prefixes* prefixes) {
  GM_CHECK(prefixes == nullptr, kUnsupported,
           "attention on CUDA: sequences that share their beginning are computed on the CPU only");
  check_segments(segments, q_NHh);
  const Here here(q_NHh);
  if (takes_flash(shape, q_NHh)) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;  // nothing is recorded
    const std::int64_t h = shape.head_dim;
    const auto [result, log_sums, rng_state, unused, mask] = at::_flash_attention_forward(
        heads(q_NHh, h), heads(k_NKh, h), heads(v_NKh, h), segments.device_starts,
        segments.device_starts, longest(segments), longest(segments), 0.0, true, false,
        shape.score_scale(), window_left(shape), window_right(shape));
    heads(out_NHh, h).copy_(result);  // it makes its own tensor; ours lies in the workspace
    if (lse_HN.defined()) {
      GM_ASSERT(log_sums.sizes() == lse_HN.sizes());  // [H, N], float32, as ours
      lse_HN.copy_(log_sums);
    }
    return;
  }
  dispatch(q_NHh.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    Attention<T> a = arguments<T>(shape, q_NHh.size(0), q_NHh, k_NKh, v_NKh, out_NHh, lse_HN);
    set_segments(segments, a);
    cuda::attention_forward(a, here.stream());
  });
}

void flash_backward(const AttentionShape& shape, const Segments& segments, const at::Tensor& q_NHh,
                    const at::Tensor& k_NKh, const at::Tensor& v_NKh, const at::Tensor& out_NHh,
                    const at::Tensor& lse_HN, const at::Tensor& dout_NHh, const at::Tensor& dq_NHh,
                    const at::Tensor& dk_NKh, const at::Tensor& dv_NKh) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const FixedOrder fixed;
  const std::int64_t h = shape.head_dim;
  // What dropout would draw from; there is none.
  const at::Tensor rng_state = at::empty({2}, q_NHh.options().dtype(at::ScalarType::UInt64));
  const at::Tensor unused = at::empty({}, rng_state.options());
  const auto [new_dq, new_dk, new_dv] = at::_flash_attention_backward(
      heads(dout_NHh, h), heads(q_NHh, h), heads(k_NKh, h), heads(v_NKh, h), heads(out_NHh, h),
      lse_HN, segments.device_starts, segments.device_starts, longest(segments), longest(segments),
      0.0, true, rng_state, unused, shape.score_scale(), window_left(shape), window_right(shape));
  heads(dq_NHh, h).copy_(new_dq);
  heads(dk_NKh, h).copy_(new_dk);
  heads(dv_NKh, h).copy_(new_dv);
}

void attention_backward(const AttentionShape& shape, const Segments& segments,
                        const at::Tensor& q_NHh, const at::Tensor& k_NKh, const at::Tensor& v_NKh,
                        const at::Tensor& out_NHh, const at::Tensor& lse_HN,
                        const at::Tensor& dout_NHh, const at::Tensor& dq_NHh,
                        const at::Tensor& dk_NKh, const at::Tensor& dv_NKh) {
  check_segments(segments, q_NHh);
  const Here here(q_NHh);
  if (takes_flash(shape, q_NHh)) {
    flash_backward(shape, segments, q_NHh, k_NKh, v_NKh, out_NHh, lse_HN, dout_NHh, dq_NHh, dk_NKh,
                   dv_NKh);
    return;
  }
  // Keys and values are still read when their gradients are there, so where a gradient shall lie in
  // its input's place it is made apart and copied. Queries need not (core/ops/attention.cu).
  const auto apart = [](const at::Tensor& gradient, const at::Tensor& of) {
    return gradient.data_ptr() == of.data_ptr() ? at::empty_like(gradient) : gradient;
  };
  const at::Tensor own_dk = apart(dk_NKh, k_NKh);
  const at::Tensor own_dv = apart(dv_NKh, v_NKh);
  const at::Tensor delta = at::empty_like(lse_HN);
  dispatch(q_NHh.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    Attention<T> a = arguments<T>(shape, q_NHh.size(0), q_NHh, k_NKh, v_NKh, out_NHh, lse_HN);
    set_segments(segments, a);
    a.dout = const_data<T>(dout_NHh);
    a.delta = data<Acc<T>>(delta);
    a.dq = data<T>(dq_NHh);
    a.dk = data<T>(own_dk);
    a.dv = data<T>(own_dv);
    cuda::attention_backward(a, here.stream());
  });
  for (const auto& [to, from] : {std::pair{dk_NKh, own_dk}, {dv_NKh, own_dv}}) {
    if (to.data_ptr() != from.data_ptr()) {
      to.copy_(from);
    }
  }
}

void attention_cached(const AttentionShape& shape, std::int64_t num_keys, const at::Tensor& q_MHh,
                      const at::Tensor& k_NKh, const at::Tensor& v_NKh, const at::Tensor& out_MHh) {
  const Here here(q_MHh);
  dispatch(q_MHh.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::attention_forward(
        arguments<T>(shape, num_keys, q_MHh, k_NKh, v_NKh, out_MHh, at::Tensor()), here.stream());
  });
}

}  // namespace

void fill_attention_ops(CudaOps& ops) {
  ops.attention_forward = attention_forward;
  ops.attention_backward = attention_backward;
  ops.attention_cached = attention_cached;
}

}  // namespace growmerge::ops::cuda
