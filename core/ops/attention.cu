// Attention for dtypes and head sizes that flash attention does not take: plain, one warp a query
// (or, for the gradients of keys and values, one warp a key). Lanes share 32 keys for scores, which
// need no sum over lanes, and the elements of a head for what the scores weigh.
//
// Shapes (legend: core/ops/kernels/kernels.h): q, out, dout, dq [N, H h]; k, v, dk, dv [N, K h];
// lse, delta [H, N]. Item i of a launch is row i of [N H, h] (or [N K, h]): position i / H, head i
// mod H.
#include "core/ops/cuda/device.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {
namespace {

constexpr int kWarps = 4;                       // a block; they share nothing
constexpr int kShare = kAttentionMost / kWarp;  // elements of a head a lane holds
constexpr unsigned kThreads = kWarps * kWarp;

__device__ int lane_of_thread() { return static_cast<int>(threadIdx.x % kWarp); }
__device__ int warp_of_thread() { return static_cast<int>(threadIdx.x / kWarp); }
/// Which of the grid's warps this is.
__device__ Index item_of_warp() {
  return static_cast<Index>(blockIdx.x) * kWarps + warp_of_thread();
}

struct Range {
  Index begin;
  Index end;
};

/// The segment of a position: the last one that begins at or before it (empty ones lie behind). By
/// bisection, so that many short documents cost little.
template <class T>
__device__ Range segment_of(const Attention<T>& a, Index position) {
  if (a.starts == nullptr) {
    return {0, a.num_keys};
  }
  Index low = 0;
  Index high = a.segments;
  while (high - low > 1) {
    const Index middle = (low + high) / 2;
    if (a.starts[middle] <= position) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return {a.starts[low], a.starts[low + 1]};
}

/// to [h] becomes scale times from [h], in shared memory: every lane needs all of it for a dot
/// product.
template <class T>
__device__ void load_head(const T* from, Index head_dim, Acc<T> scale, Acc<T>* to) {
  for (Index c = lane_of_thread(); c < head_dim; c += kWarp) {
    to[c] = load(from[c]) * scale;
  }
}

/// Of a [h] and b [h], by one lane for one key: no sum over lanes.
template <class T>
__device__ Acc<T> dot(const Acc<T>* a, const T* b, Index head_dim) {
  Acc<T> sum = 0;
  for (Index c = 0; c < head_dim; ++c) {
    sum += a[c] * load(b[c]);
  }
  return sum;
}

/// sum[r] += weight * row[lane + 32 r], row [h]. Unrolled, or sum would be indexed at run time and
/// lie in memory instead of registers.
template <class T>
__device__ void add_row(Acc<T> weight, const T* row, Index head_dim, Acc<T>* sum) {
#pragma unroll
  for (int r = 0; r < kShare; ++r) {
    const Index c = lane_of_thread() + static_cast<Index>(r) * kWarp;
    if (c < head_dim) {
      sum[r] += weight * load(row[c]);
    }
  }
}

/// row[lane + 32 r] = sum[r] * scale, row [h].
template <class T>
__device__ void store_row(const Acc<T>* sum, Acc<T> scale, Index head_dim, T* row) {
#pragma unroll
  for (int r = 0; r < kShare; ++r) {
    const Index c = lane_of_thread() + static_cast<Index>(r) * kWarp;
    if (c < head_dim) {
      store(row[c], sum[r] * scale);
    }
  }
}

/// Of [begin, end), at most a warp's.
__device__ int lanes_in_use(Index begin, Index end) {
  const Index left = end - begin;
  return left < kWarp ? static_cast<int>(left) : static_cast<int>(kWarp);
}

/// The first key that the query at position `i` of the keys sees.
template <class T>
__device__ Index first_key(const Attention<T>& a, Index begin, Index i) {
  const Index windowed = a.window == 0 ? begin : i - a.window + 1;
  return windowed > begin ? windowed : begin;
}

/// The queries behind key `j` that see it end here.
template <class T>
__device__ Index end_of_queries(const Attention<T>& a, Index end, Index j) {
  return a.window == 0 || j + a.window > end ? end : j + a.window;
}

/// A score and its slope by the product q k, apart from the scale.
template <class A>
struct Score {
  A value;
  A slope;
};

/// `product` has been scaled.
template <class T>
__device__ Score<Acc<T>> capped(const Attention<T>& a, Acc<T> product) {
  using A = Acc<T>;
  if (a.soft_cap == 0.0) {
    return {product, A(1)};
  }
  const A cap = static_cast<A>(a.soft_cap);
  const A t = tanh(product / cap);
  return {cap * t, A(1) - t * t};
}

/// One query of one head, and where its keys lie.
struct Query {
  Index i;       // position
  Index head;    // of q
  Index kv_row;  // elements from one key to the next
  Index kv_at;   // where the head's elements begin in a key's row
};

template <class T>
__device__ Query query_of(const Attention<T>& a, Index item) {
  const Index head = item % a.heads;
  return {item / a.heads, head, a.kv_heads * a.head_dim,
          head / (a.heads / a.kv_heads) * a.head_dim};
}

/// One warp a query, 32 keys at a time with a running maximum (online softmax): what has been
/// summed is multiplied by exp(old - new maximum) when a larger score comes, so no exponential
/// overflows and keys are read once.
template <class T>
__global__ void forward_kernel(Attention<T> a) {
  using A = Acc<T>;
  __shared__ A queries[kWarps][kAttentionMost];
  const Index item = item_of_warp();
  if (item >= a.n * a.heads) {
    return;
  }
  const auto [i, head, kv_row, kv_at] = query_of(a, item);
  const Index h = a.head_dim;
  A* q = queries[warp_of_thread()];
  load_head(a.q + item * h, h, static_cast<A>(a.scale), q);
  sync_warp();                               // lanes read what others have loaded
  const Index own = i + (a.num_keys - a.n);  // causal; queries are the last n of the keys
  const Index end = own + 1;
  A high = A(-1e30);  // not an infinity: the difference of two of those is NaN
  A total = 0;
  A out[kShare] = {};
  for (Index base = first_key(a, segment_of(a, i).begin, own); base < end; base += kWarp) {
    const Index j = base + lane_of_thread();
    const A score = j < end ? capped(a, dot(q, a.k + j * kv_row + kv_at, h)).value : A(-1e30);
    const A top = reduce_warp(Max{}(high, score), Max{});
    const A p = j < end ? exp_of(score - top) : A(0);
    const A keep = exp_of(high - top);
    total = total * keep + reduce_warp(p, Sum{});
    high = top;
    for (A& o : out) {
      o *= keep;
    }
    // Now lanes hold elements of a head instead of keys: each key's weight goes to all of them in
    // turn.
    for (int l = 0; l < lanes_in_use(base, end); ++l) {
      add_row(shuffle(p, l), a.v + (base + l) * kv_row + kv_at, h, out);
    }
  }
  store_row(out, A(1) / total, h, a.out + item * h);
  if (a.lse != nullptr && lane_of_thread() == 0) {
    a.lse[head * a.n + i] = high + static_cast<A>(log(static_cast<double>(total)));
  }
}

/// delta = sum over a head of dout * out: what the softmax's gradient subtracts, once for all keys.
template <class T>
__global__ void delta_kernel(Attention<T> a) {
  using A = Acc<T>;
  const Index item = item_of_warp();
  if (item >= a.n * a.heads) {
    return;
  }
  A sum = 0;
  for (Index c = lane_of_thread(); c < a.head_dim; c += kWarp) {
    sum += load(a.dout[item * a.head_dim + c]) * load(a.out[item * a.head_dim + c]);
  }
  sum = reduce_warp(sum, Sum{});
  if (lane_of_thread() == 0) {
    a.delta[item % a.heads * a.n + item / a.heads] = sum;
  }
}

/// With P = exp(S - lse): dV = P^T dO, dS = P (dO V^T - delta) slope, dK = scale dS^T Q. One warp a
/// key of one key-value head: it adds up all queries of the group, so that no two warps write to
/// one gradient and no atomic addition is needed.
template <class T>
__global__ void key_value_kernel(Attention<T> a) {
  using A = Acc<T>;
  __shared__ A keys[kWarps][kAttentionMost];
  __shared__ A values[kWarps][kAttentionMost];
  const Index item = item_of_warp();
  if (item >= a.n * a.kv_heads) {
    return;
  }
  const Index j = item / a.kv_heads;
  const Index h = a.head_dim;
  const Index group = a.heads / a.kv_heads;
  A* k = keys[warp_of_thread()];
  A* v = values[warp_of_thread()];
  load_head(a.k + item * h, h, static_cast<A>(a.scale), k);
  load_head(a.v + item * h, h, A(1), v);
  sync_warp();
  const Index end = end_of_queries(a, segment_of(a, j).end, j);  // queries at or behind the key
  A dk[kShare] = {};
  A dv[kShare] = {};
  for (Index g = 0; g < group; ++g) {
    const Index head = item % a.kv_heads * group + g;
    for (Index base = j; base < end; base += kWarp) {
      const Index i = base + lane_of_thread();
      A p = 0;
      A ds = 0;
      if (i < end) {
        const Index at = (i * a.heads + head) * h;
        const Score<A> score = capped(a, dot(k, a.q + at, h));
        p = exp_of(score.value - a.lse[head * a.n + i]);
        ds = p * (dot(v, a.dout + at, h) - a.delta[head * a.n + i]) * score.slope;
      }
      for (int l = 0; l < lanes_in_use(base, end); ++l) {
        const Index at = ((base + l) * a.heads + head) * h;
        add_row(shuffle(p, l), a.dout + at, h, dv);
        add_row(shuffle(ds, l), a.q + at, h, dk);
      }
    }
  }
  store_row(dk, static_cast<A>(a.scale), h, a.dk + item * h);
  store_row(dv, A(1), h, a.dv + item * h);
}

/// dQ = scale dS K. A warp has read its query before it writes the gradient, maybe in its place.
template <class T>
__global__ void query_kernel(Attention<T> a) {
  using A = Acc<T>;
  __shared__ A queries[kWarps][kAttentionMost];
  __shared__ A gradients[kWarps][kAttentionMost];
  const Index item = item_of_warp();
  if (item >= a.n * a.heads) {
    return;
  }
  const auto [i, head, kv_row, kv_at] = query_of(a, item);
  const Index h = a.head_dim;
  A* q = queries[warp_of_thread()];
  A* dout = gradients[warp_of_thread()];
  load_head(a.q + item * h, h, static_cast<A>(a.scale), q);
  load_head(a.dout + item * h, h, A(1), dout);
  sync_warp();
  const A lse = a.lse[head * a.n + i];
  const A delta = a.delta[head * a.n + i];
  A dq[kShare] = {};
  for (Index base = first_key(a, segment_of(a, i).begin, i); base <= i; base += kWarp) {
    const Index j = base + lane_of_thread();
    A ds = 0;
    if (j <= i) {
      const Index at = j * kv_row + kv_at;
      const Score<A> score = capped(a, dot(q, a.k + at, h));
      ds = exp_of(score.value - lse) * (dot(dout, a.v + at, h) - delta) * score.slope;
    }
    for (int l = 0; l < lanes_in_use(base, i + 1); ++l) {
      add_row(shuffle(ds, l), a.k + (base + l) * kv_row + kv_at, h, dq);
    }
  }
  store_row(dq, static_cast<A>(a.scale), h, a.dq + item * h);
}

template <class T>
void check_shape(const Attention<T>& a) {
  GM_CHECK(a.head_dim <= kAttentionMost, kUnsupported, "attention on CUDA: head_dim is ",
           a.head_dim, ", at most ", kAttentionMost);
}

dim3 grid_of_warps(Index items) { return grid_of_rows((items + kWarps - 1) / kWarps); }

}  // namespace

template <class T>
void attention_forward(const Attention<T>& a, Stream stream) {
  check_shape(a);
  launch(forward_kernel<T>, grid_of_warps(a.n * a.heads), kThreads, stream, a);
}

template <class T>
void attention_backward(const Attention<T>& a, Stream stream) {
  check_shape(a);
  // Queries last: their gradients may be written over q, which the others read.
  launch(delta_kernel<T>, grid_of_warps(a.n * a.heads), kThreads, stream, a);
  launch(key_value_kernel<T>, grid_of_warps(a.n * a.kv_heads), kThreads, stream, a);
  launch(query_kernel<T>, grid_of_warps(a.n * a.heads), kThreads, stream, a);
}

#define GM_INSTANTIATE(T)                                       \
  template void attention_forward(const Attention<T>&, Stream); \
  template void attention_backward(const Attention<T>&, Stream);
GM_INSTANTIATE(float)
GM_INSTANTIATE(double)
GM_INSTANTIATE(Bf16)

}  // namespace growmerge::ops::cuda
