#include "core/ops/attention.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/ops/dispatch.h"
#include "core/ops/scratch.h"

// Shapes (legend: kernels/kernels.h): q, out, dout, dq [N, H h]; k, v, dk, dv [N, K h]; lse [H, N].
// A key-value head and the group of H / K query heads that read it make one task for each segment.
namespace growmerge::ops {
namespace {

/// Runs fn(segment, key-value head, scratch) for each of both, each thread taking the next one that
/// nobody has taken: lengths differ, so an even share of tasks would be an uneven share of work.
/// Most keys first, or a long task that comes last would be waited for by all other threads.
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
    // Enough for the longest segment, and the same for each of the thread's tasks.
    const ScratchMemory memory =
        make_scratch(static_cast<std::size_t>(scratch) * sizeof(A), "attention");
    for (std::int64_t thread = first; thread < last; ++thread) {
      for (std::int64_t task = next++; task < tasks; task = next++) {
        const std::int32_t s = order[static_cast<std::size_t>(task / shape.num_kv_heads)];
        fn(static_cast<std::size_t>(s), task % shape.num_kv_heads, static_cast<A*>(memory.get()));
      }
    }
  });
}

/// What all tasks have in common: strides and sizes, and pointers at whole tensors.
template <class T>
AttentionTask<T> make_task(const AttentionShape& shape, const at::Tensor& q_NHh,
                           const at::Tensor& k_NKh, const at::Tensor& v_NKh,
                           const at::Tensor& out_NHh) {
  AttentionTask<T> task;
  task.q = const_data<T>(q_NHh);
  task.k = const_data<T>(k_NKh);
  task.v = const_data<T>(v_NKh);
  task.out = data<T>(out_NHh);
  task.q_stride = shape.num_heads * shape.head_dim;
  task.kv_stride = shape.num_kv_heads * shape.head_dim;
  task.lse_stride = q_NHh.size(0);
  task.head_dim = shape.head_dim;
  task.group = shape.num_heads / shape.num_kv_heads;
  task.scale = shape.score_scale();
  task.soft_cap = shape.soft_cap;
  task.window = shape.window;
  return task;
}

/// `whole` points at whole tensors (null where there is none); in the result the pointers stand at
/// the task's first position and at its first head.
template <class T>
AttentionTask<T> task_at(const AttentionTask<T>& whole, std::int64_t first_position,
                         std::int64_t kv_head) {
  AttentionTask<T> t = whole;
  const auto advance = [](auto*& pointer, std::int64_t elements) {
    pointer = pointer == nullptr ? nullptr : pointer + elements;
  };
  const std::int64_t at_q = first_position * t.q_stride + kv_head * t.group * t.head_dim;
  const std::int64_t at_kv = first_position * t.kv_stride + kv_head * t.head_dim;
  advance(t.q, at_q);
  advance(t.out, at_q);
  advance(t.dout, at_q);
  advance(t.dq, at_q);
  advance(t.k, at_kv);
  advance(t.v, at_kv);
  advance(t.dk, at_kv);
  advance(t.dv, at_kv);
  advance(t.lse, kv_head * t.group * t.lse_stride + first_position);
  return t;
}

/// Pairs of a query and a key that it sees.
double scored_pairs(const AttentionShape& shape, std::span<const std::int32_t> starts,
                    const Prefixes* prefixes) {
  const auto most = shape.window == 0 ? INFINITY : static_cast<double>(shape.window);
  // Of the first `n` queries of a sequence: the window is full from its own length on.
  const auto pairs_of = [&](double n) {
    const double growing = std::min(n, most);
    return growing * (growing + 1.0) / 2.0 + (n > growing ? (n - growing) * most : 0.0);
  };
  double sum = 0.0;
  for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
    const double own = starts[s + 1] - starts[s];
    const double before = prefixes == nullptr ? 0.0 : static_cast<double>(prefixes->of(s).size());
    sum += pairs_of(before + own) - pairs_of(before);
  }
  return sum;
}

/// Of `products` products over each pair's h elements, in every query head.
profile::Work work_of(double products, double pairs, const AttentionShape& shape,
                      std::initializer_list<at::Tensor> moved) {
  return {.flops = 2.0 * products * pairs * static_cast<double>(shape.num_heads * shape.head_dim),
          .bytes = bytes_of(moved)};
}

}  // namespace

double AttentionShape::score_scale() const {
  return scale != 0.0 ? scale : 1.0 / std::sqrt(static_cast<double>(head_dim));
}

void attention_forward(const AttentionShape& shape, const Segments& segments,
                       const at::Tensor& q_NHh, const at::Tensor& k_NKh, const at::Tensor& v_NKh,
                       const at::Tensor& out_NHh, const at::Tensor& lse_HN,
                       const Prefixes* prefixes) {
  if (q_NHh.is_cuda()) {
    return cuda_ops().attention_forward(shape, segments, q_NHh, k_NKh, v_NKh, out_NHh, lse_HN,
                                        prefixes);
  }
  const std::span<const std::int32_t> starts = segments.starts;
  const profile::Scope scope("attention_forward", [&] {  // q k^T and P v
    return work_of(2.0, scored_pairs(shape, starts, prefixes), shape,
                   {q_NHh, k_NKh, v_NKh, out_NHh});
  });
  GM_ASSERT(prefixes == nullptr || prefixes->starts.size() == starts.size());
  dispatch(q_NHh.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    AttentionTask<T> whole = make_task<T>(shape, q_NHh, k_NKh, v_NKh, out_NHh);
    whole.lse = lse_HN.defined() ? data<A>(lse_HN) : nullptr;
    for_each_task<A>(shape, starts, prefixes, false,
                     [&](std::size_t segment, std::int64_t kv_head, A* scratch) {
                       const std::int64_t start = starts[segment];
                       AttentionTask<T> t = task_at(whole, start, kv_head);
                       t.q_len = t.k_len = starts[segment + 1] - start;
                       if (prefixes != nullptr) {
                         // A prefix's rows lie anywhere in the batch, so they count from its start.
                         const auto rows = prefixes->of(segment);
                         t.prefix_k = whole.k + kv_head * t.head_dim;
                         t.prefix_v = whole.v + kv_head * t.head_dim;
                         t.prefix_rows = rows.data();
                         t.prefix_len = static_cast<std::int64_t>(rows.size());
                         t.k_len += t.prefix_len;
                       }
                       t.scratch = scratch;
                       kernels<T>().attention_forward(t);
                     });
  });
}

void attention_backward(const AttentionShape& shape, const Segments& segments,
                        const at::Tensor& q_NHh, const at::Tensor& k_NKh, const at::Tensor& v_NKh,
                        const at::Tensor& out_NHh, const at::Tensor& lse_HN,
                        const at::Tensor& dout_NHh, const at::Tensor& dq_NHh,
                        const at::Tensor& dk_NKh, const at::Tensor& dv_NKh) {
  if (q_NHh.is_cuda()) {
    return cuda_ops().attention_backward(shape, segments, q_NHh, k_NKh, v_NKh, out_NHh, lse_HN,
                                         dout_NHh, dq_NHh, dk_NKh, dv_NKh);
  }
  const std::span<const std::int32_t> starts = segments.starts;
  const profile::Scope scope("attention_backward", [&] {  // S and dP again, dV, dK and dQ
    return work_of(5.0, scored_pairs(shape, starts, nullptr), shape,
                   {q_NHh, k_NKh, v_NKh, out_NHh, dout_NHh, dq_NHh, dk_NKh, dv_NKh});
  });
  dispatch(q_NHh.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    AttentionTask<T> whole = make_task<T>(shape, q_NHh, k_NKh, v_NKh, out_NHh);
    whole.lse = data<A>(lse_HN);
    whole.dout = const_data<T>(dout_NHh);
    // These may be q, k and v: a task has read a row before it writes a gradient there.
    whole.dq = data<T>(dq_NHh);
    whole.dk = data<T>(dk_NKh);
    whole.dv = data<T>(dv_NKh);
    for_each_task<A>(shape, starts, nullptr, true,
                     [&](std::size_t segment, std::int64_t kv_head, A* scratch) {
                       const std::int64_t start = starts[segment];
                       AttentionTask<T> t = task_at(whole, start, kv_head);
                       t.q_len = t.k_len = starts[segment + 1] - start;
                       t.scratch = scratch;
                       kernels<T>().attention_backward(t);
                     });
  });
}

void attention_cached(const AttentionShape& shape, std::int64_t num_keys, const at::Tensor& q_MHh,
                      const at::Tensor& k_NKh, const at::Tensor& v_NKh, const at::Tensor& out_MHh) {
  if (q_MHh.is_cuda()) {
    return cuda_ops().attention_cached(shape, num_keys, q_MHh, k_NKh, v_NKh, out_MHh);
  }
  dispatch(q_MHh.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    const AttentionTask<T> whole = make_task<T>(shape, q_MHh, k_NKh, v_NKh, out_MHh);
    // One segment of all keys, whose last M positions alone have queries.
    const std::array<std::int32_t, 2> starts = {0, static_cast<std::int32_t>(num_keys)};
    for_each_task<A>(shape, starts, nullptr, false,
                     [&](std::size_t, std::int64_t kv_head, A* scratch) {
                       AttentionTask<T> t = task_at(whole, 0, kv_head);
                       t.q_len = q_MHh.size(0);
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
