// Rows are gathered by one block each. The gradient's positions come sorted by token: the block at
// the first position of a token adds all of its rows, in ascending order of positions.
//
// Shapes (legend: core/ops/kernels/kernels.h): tokens, keys, positions [N]; x, dx [N, D]; table,
// dtable [V, D].
#include "core/ops/cuda/device.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {
namespace {

/// One block a position: x [n, d] takes rows of table [vocab, d].
template <class T, int V>
__global__ void embedding_forward_kernel(EmbeddingForward<T> a) {
  const T* from = a.table + a.tokens[blockIdx.x] * a.d;
  T* to = a.x + static_cast<Index>(blockIdx.x) * a.d;
  for (Index p = threadIdx.x; p < a.d / V; p += blockDim.x) {
    store_pack(to + p * V, load_pack<V>(from + p * V));
  }
}

/// One thread a position. Ignored targets (negative) sort behind every token.
__global__ void embedding_keys_kernel(Index n, std::int32_t vocab, const std::int64_t* tokens,
                                      std::int32_t* keys, std::int32_t* positions) {
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) {
    keys[i] = tokens[i] < 0 ? vocab : static_cast<std::int32_t>(tokens[i]);
    positions[i] = static_cast<std::int32_t>(i);
  }
}

/// Rows whose loads are under way together: they are added one after the other, but need not be
/// waited for one after the other.
constexpr int kAhead = 4;

/// A block for each position and share of columns; all but those at a token's first position return
/// at once. So a row of dtable [vocab, d] has one writer, and its sum the CPU's order, without
/// atomic additions.
template <class T, int V>
__global__ void embedding_backward_kernel(EmbeddingBackward<T> a) {
  using A = Acc<T>;
  const Index first = blockIdx.x;
  const std::int32_t key = a.keys[first];
  const Index column = (static_cast<Index>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
  if (key >= a.vocab || (first > 0 && a.keys[first - 1] == key) || column >= a.d) {
    return;
  }
  A* to = a.dtable + static_cast<Index>(key) * a.d + column;
  A sum[V];
  for (int e = 0; e < V; ++e) {
    sum[e] = to[e];
  }
  Index i = first;
  for (; i + kAhead <= a.n && a.keys[i + kAhead - 1] == key; i += kAhead) {
    Pack<T, V> rows[kAhead];
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      rows[r] = load_pack<V>(a.dx + a.positions[i + r] * a.d + column);
    }
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      for (int e = 0; e < V; ++e) {
        sum[e] += load(rows[r].at[e]);
      }
    }
  }
  for (; i < a.n && a.keys[i] == key; ++i) {
    const Pack<T, V> row = load_pack<V>(a.dx + a.positions[i] * a.d + column);
    for (int e = 0; e < V; ++e) {
      sum[e] += load(row.at[e]);
    }
  }
  for (int e = 0; e < V; ++e) {
    to[e] = sum[e];
  }
}

template <class T, int V>
void launch_backward(const EmbeddingBackward<T>& a, Stream stream) {
  const unsigned threads = threads_for(a.d / V, 128);
  const Index columns = static_cast<Index>(threads) * V;
  launch(embedding_backward_kernel<T, V>,
         dim3(static_cast<unsigned>(a.n), static_cast<unsigned>((a.d + columns - 1) / columns)),
         threads, stream, a);
}

}  // namespace

template <class T>
void embedding_forward(const EmbeddingForward<T>& a, Stream stream) {
  launch_on_rows<T>(embedding_forward_kernel<T, kPackOf<T>>, embedding_forward_kernel<T, 1>,
                    is_packable<T>(a.d, a.table, a.x), a.n, a.d, kFewThreads, stream, a);
}

void embedding_keys(Index n, std::int32_t vocab, const std::int64_t* tokens, std::int32_t* keys,
                    std::int32_t* positions, Stream stream) {
  constexpr unsigned kThreads = 256;
  launch(embedding_keys_kernel, grid_of_rows((n + kThreads - 1) / kThreads), kThreads, stream, n,
         vocab, tokens, keys, positions);
}

template <class T>
void embedding_backward(const EmbeddingBackward<T>& a, Stream stream) {
  if (is_packable<T>(a.d, a.dx)) {
    launch_backward<T, kPackOf<T>>(a, stream);
  } else {
    launch_backward<T, 1>(a, stream);
  }
}

#define GM_INSTANTIATE(T)                                              \
  template void embedding_forward(const EmbeddingForward<T>&, Stream); \
  template void embedding_backward(const EmbeddingBackward<T>&, Stream);
GM_INSTANTIATE(float)
GM_INSTANTIATE(double)
GM_INSTANTIATE(Bf16)

}  // namespace growmerge::ops::cuda
