// Flash attention of LibTorch for bfloat16, our own kernels for whatever it does not take.
#include <ATen/Context.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>

#include "core/ops/cuda/here.h"
#include "core/ops/cuda/kernels.h"
#include "core/ops/cuda/table.h"
#include "core/ops/dispatch.h"

namespace growmerge::ops::cuda {
namespace {

bool takes_flash(const AttentionShape& shape, const at::Tensor& q) {
  return q.is_cuda() && q.scalar_type() == at::ScalarType::BFloat16 && shape.head_dim % 8 == 0 &&
         shape.head_dim <= 256;
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

double scale(const AttentionShape& shape) {
  return 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
}

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

template <class T>
Attention<T> arguments(const AttentionShape& shape, std::int64_t num_keys, const at::Tensor& q,
                       const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                       const at::Tensor& lse) {
  return {.n = q.size(0),
          .num_keys = num_keys,
          .heads = shape.num_heads,
          .kv_heads = shape.num_kv_heads,
          .head_dim = shape.head_dim,
          .scale = scale(shape),
          .q = const_data<T>(q),
          .k = const_data<T>(k),
          .v = const_data<T>(v),
          .out = data<T>(out),
          .lse = lse.defined() ? data<Acc<T>>(lse) : nullptr};
}

template <class T>
void set_segments(const Segments& segments, Attention<T>& a) {
  a.starts = const_data<std::int32_t>(segments.device_starts);
  a.segments = segments.device_starts.numel() - 1;
}

void attention_forward(const AttentionShape& shape, const Segments& segments, const at::Tensor& q,
                       const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                       const at::Tensor& lse, const Prefixes* prefixes) {
  GM_CHECK(prefixes == nullptr, kUnsupported,
           "attention on CUDA: sequences that share their beginning are computed on the CPU only");
  check_segments(segments, q);
  const Here here(q);
  if (takes_flash(shape, q)) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const std::int64_t h = shape.head_dim;
    const auto [result, log_sums, rng_state, unused, mask] = at::_flash_attention_forward(
        heads(q, h), heads(k, h), heads(v, h), segments.device_starts, segments.device_starts,
        longest(segments), longest(segments), 0.0, true, false, scale(shape));
    heads(out, h).copy_(result);
    if (lse.defined()) {
      GM_ASSERT(log_sums.sizes() == lse.sizes());  // [H, N], float32, as ours
      lse.copy_(log_sums);
    }
    return;
  }
  dispatch(q.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    Attention<T> a = arguments<T>(shape, q.size(0), q, k, v, out, lse);
    set_segments(segments, a);
    cuda::attention_forward(a, here.stream());
  });
}

void flash_backward(const AttentionShape& shape, const Segments& segments, const at::Tensor& q,
                    const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                    const at::Tensor& lse, const at::Tensor& dout, const at::Tensor& dq,
                    const at::Tensor& dk, const at::Tensor& dv) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const FixedOrder fixed;
  const std::int64_t h = shape.head_dim;
  // What dropout would draw from; there is none.
  const at::Tensor rng_state = at::empty({2}, q.options().dtype(at::ScalarType::UInt64));
  const at::Tensor unused = at::empty({}, rng_state.options());
  const auto [new_dq, new_dk, new_dv] = at::_flash_attention_backward(
      heads(dout, h), heads(q, h), heads(k, h), heads(v, h), heads(out, h), lse,
      segments.device_starts, segments.device_starts, longest(segments), longest(segments), 0.0,
      true, rng_state, unused, scale(shape));
  heads(dq, h).copy_(new_dq);
  heads(dk, h).copy_(new_dk);
  heads(dv, h).copy_(new_dv);
}

void attention_backward(const AttentionShape& shape, const Segments& segments, const at::Tensor& q,
                        const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                        const at::Tensor& lse, const at::Tensor& dout, const at::Tensor& dq,
                        const at::Tensor& dk, const at::Tensor& dv) {
  check_segments(segments, q);
  const Here here(q);
  if (takes_flash(shape, q)) {
    flash_backward(shape, segments, q, k, v, out, lse, dout, dq, dk, dv);
    return;
  }
  // Keys and values are still read when their gradients are there.
  const auto apart = [](const at::Tensor& gradient, const at::Tensor& of) {
    return gradient.data_ptr() == of.data_ptr() ? at::empty_like(gradient) : gradient;
  };
  const at::Tensor own_dk = apart(dk, k);
  const at::Tensor own_dv = apart(dv, v);
  const at::Tensor delta = at::empty_like(lse);
  dispatch(q.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    Attention<T> a = arguments<T>(shape, q.size(0), q, k, v, out, lse);
    set_segments(segments, a);
    a.dout = const_data<T>(dout);
    a.delta = data<Acc<T>>(delta);
    a.dq = data<T>(dq);
    a.dk = data<T>(own_dk);
    a.dv = data<T>(own_dv);
    cuda::attention_backward(a, here.stream());
  });
  for (const auto& [to, from] : {std::pair{dk, own_dk}, {dv, own_dv}}) {
    if (to.data_ptr() != from.data_ptr()) {
      to.copy_(from);
    }
  }
}

void attention_cached(const AttentionShape& shape, std::int64_t num_keys, const at::Tensor& q,
                      const at::Tensor& k, const at::Tensor& v, const at::Tensor& out) {
  const Here here(q);
  dispatch(q.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::attention_forward(arguments<T>(shape, num_keys, q, k, v, out, at::Tensor()),
                            here.stream());
  });
}

}  // namespace

void fill_attention_ops(CudaOps& ops) {
  ops.attention_forward = attention_forward;
  ops.attention_backward = attention_backward;
  ops.attention_cached = attention_cached;
}

}  // namespace growmerge::ops::cuda
