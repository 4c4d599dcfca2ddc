#include "core/ops/attention.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

#include "core/ops/dispatch.h"

namespace growmerge::ops {
namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};

/// Runs fn(segment, key-value head, scratch) for each of both, most keys first, each thread taking
/// the next one that nobody has taken.
template <class A, class Fn>
void for_each_task(const AttentionShape& shape, std::span<const std::int32_t> starts,
                   const Prefixes* prefixes, bool backward, Fn&& fn) {
  const auto segments = static_cast<std::int64_t>(starts.size()) - 1;
  std::vector<std::int32_t> order(static_cast<std::size_t>(segments));
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](std::int32_t s) {
    const auto i = static_cast<std::size_t>(s);
    return starts[i + 1] - starts[i] +
           (prefixes == nullptr ? 0 : prefixes->starts[i + 1] - prefixes->starts[i]);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return length(a) > length(b); });
  const std::int64_t scratch =
      segments == 0 ? 0 : attention_scratch(length(order.front()), shape.head_dim, backward);
  const std::int64_t tasks = segments * shape.num_kv_heads;
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = std::min<std::int64_t>(at::get_num_threads(), tasks);
  at::parallel_for(0, threads, 1, [&](std::int64_t first, std::int64_t last) {
    const std::size_t bytes = (static_cast<std::size_t>(scratch) * sizeof(A) + 63) / 64 * 64;
    const std::unique_ptr<void, Free> memory(std::aligned_alloc(64, bytes));
    GM_CHECK(memory != nullptr, kIo, "attention: out of memory for ", bytes, " bytes of scratch");
    for (std::int64_t thread = first; thread < last; ++thread) {
      for (std::int64_t task = next++; task < tasks; task = next++) {
        const std::int32_t s = order[static_cast<std::size_t>(task / shape.num_kv_heads)];
        fn(static_cast<std::size_t>(s), task % shape.num_kv_heads, static_cast<A*>(memory.get()));
      }
    }
  });
}

template <class T>
AttentionTask<T> make_task(const AttentionShape& shape, std::int64_t num_positions) {
  AttentionTask<T> task;
  task.q_stride = shape.num_heads * shape.head_dim;
  task.kv_stride = shape.num_kv_heads * shape.head_dim;
  task.lse_stride = num_positions;
  task.head_dim = shape.head_dim;
  task.group = shape.num_heads / shape.num_kv_heads;
  task.scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  return task;
}

/// Pairs of a query and a key at or before it.
double scored_pairs(std::span<const std::int32_t> starts, const Prefixes* prefixes) {
  double sum = 0.0;
  for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
    const double own = starts[s + 1] - starts[s];
    const double before = prefixes == nullptr ? 0.0 : static_cast<double>(prefixes->of(s).size());
    sum += own * before + own * (own + 1.0) / 2.0;
  }
  return sum;
}

}  // namespace

void attention_forward(const AttentionShape& shape, const Segments& segments, const at::Tensor& q,
                       const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                       const at::Tensor& lse, const Prefixes* prefixes) {
  if (q.is_cuda()) {
    return cuda_ops().attention_forward(shape, segments, q, k, v, out, lse, prefixes);
  }
  const std::span<const std::int32_t> segment_starts = segments.starts;
  const profile::Scope scope("attention_forward", [&] {
    return profile::Work{.flops = 4.0 * scored_pairs(segment_starts, prefixes) *
                                  static_cast<double>(shape.num_heads * shape.head_dim),
                         .bytes = bytes_of({q, k, v, out})};
  });
  const std::int64_t n = q.size(0);
  GM_ASSERT(prefixes == nullptr || prefixes->starts.size() == segment_starts.size());
  dispatch(q.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    const AttentionTask<T> common = make_task<T>(shape, n);
    const T* qp = const_data<T>(q);
    const T* kp = const_data<T>(k);
    const T* vp = const_data<T>(v);
    T* op = data<T>(out);
    A* lp = lse.defined() ? data<A>(lse) : nullptr;
    for_each_task<A>(shape, segment_starts, prefixes, false,
                     [&](std::size_t segment, std::int64_t head, A* scratch) {
                       AttentionTask<T> t = common;
                       const std::int64_t start = segment_starts[segment];
                       const std::int64_t at_q = start * t.q_stride + head * t.group * t.head_dim;
                       const std::int64_t at_k = start * t.kv_stride + head * t.head_dim;
                       t.q = qp + at_q;
                       t.out = op + at_q;
                       t.k = kp + at_k;
                       t.v = vp + at_k;
                       t.lse = lp != nullptr ? lp + head * t.group * n + start : nullptr;
                       t.q_len = t.k_len = segment_starts[segment + 1] - start;
                       if (prefixes != nullptr) {
                         const auto rows = prefixes->of(segment);
                         t.prefix_k = kp + head * t.head_dim;
                         t.prefix_v = vp + head * t.head_dim;
                         t.prefix_rows = rows.data();
                         t.prefix_len = static_cast<std::int64_t>(rows.size());
                         t.k_len += t.prefix_len;
                       }
                       t.scratch = scratch;
                       kernels<T>().attention_forward(t);
                     });
  });
}

void attention_backward(const AttentionShape& shape, const Segments& segments, const at::Tensor& q,
                        const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                        const at::Tensor& lse, const at::Tensor& dout, const at::Tensor& dq,
                        const at::Tensor& dk, const at::Tensor& dv) {
  if (q.is_cuda()) {
    return cuda_ops().attention_backward(shape, segments, q, k, v, out, lse, dout, dq, dk, dv);
  }
  const std::span<const std::int32_t> segment_starts = segments.starts;
  const profile::Scope scope("attention_backward", [&] {
    return profile::Work{.flops = 10.0 * scored_pairs(segment_starts, nullptr) *
                                  static_cast<double>(shape.num_heads * shape.head_dim),
                         .bytes = bytes_of({q, k, v, out, dout, dq, dk, dv})};
  });
  const std::int64_t n = q.size(0);
  dispatch(q.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    AttentionTask<T> common = make_task<T>(shape, n);
    common.q = const_data<T>(q);
    common.k = const_data<T>(k);
    common.v = const_data<T>(v);
    common.out = data<T>(out);
    common.lse = data<A>(lse);
    common.dout = const_data<T>(dout);
    common.dq = data<T>(dq);
    common.dk = data<T>(dk);
    common.dv = data<T>(dv);
    for_each_task<A>(shape, segment_starts, nullptr, true,
                     [&](std::size_t segment, std::int64_t head, A* scratch) {
                       AttentionTask<T> t = common;
                       const std::int64_t start = segment_starts[segment];
                       const std::int64_t at_q = start * t.q_stride + head * t.group * t.head_dim;
                       const std::int64_t at_k = start * t.kv_stride + head * t.head_dim;
                       t.q += at_q;
                       t.out += at_q;
                       t.dout += at_q;
                       t.dq += at_q;
                       t.k += at_k;
                       t.v += at_k;
                       t.dk += at_k;
                       t.dv += at_k;
                       t.lse += head * t.group * n + start;
                       t.q_len = t.k_len = segment_starts[segment + 1] - start;
                       t.scratch = scratch;
                       kernels<T>().attention_backward(t);
                     });
  });
}

void attention_cached(const AttentionShape& shape, std::int64_t num_keys, const at::Tensor& q,
                      const at::Tensor& k, const at::Tensor& v, const at::Tensor& out) {
  if (q.is_cuda()) {
    return cuda_ops().attention_cached(shape, num_keys, q, k, v, out);
  }
  dispatch(q.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    const AttentionTask<T> common = make_task<T>(shape, q.size(0));
    const T* qp = const_data<T>(q);
    const T* kp = const_data<T>(k);
    const T* vp = const_data<T>(v);
    T* op = data<T>(out);
    const std::array<std::int32_t, 2> whole = {0, static_cast<std::int32_t>(num_keys)};
    for_each_task<A>(shape, whole, nullptr, false, [&](std::size_t, std::int64_t head, A* scratch) {
      AttentionTask<T> t = common;
      const std::int64_t at_q = head * t.group * t.head_dim;
      t.q = qp + at_q;
      t.out = op + at_q;
      t.k = kp + head * t.head_dim;
      t.v = vp + head * t.head_dim;
      t.q_len = q.size(0);
      t.k_len = num_keys;
      t.scratch = scratch;
      kernels<T>().attention_forward(t);
    });
  });
}

std::int64_t attention_scratch_bytes(std::int64_t longest_segment, std::int64_t head_dim,
                                     std::int64_t threads, at::ScalarType dtype) {
  return threads * attention_scratch(longest_segment, head_dim, true) *
         (dtype == at::ScalarType::Double ? 8 : 4);
}

}  // namespace growmerge::ops
