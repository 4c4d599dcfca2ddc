// Shapes (legend: kernels.h): x [rows, heads, head_dim]; cos, sin [P, pairs]; positions [rows].
#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

// Rotate-half: (a, b) = (x[j], x[j + pairs]) -> (a cos - b sin, b cos + a sin), and what lies
// behind 2 pairs stays. The gradient of a rotation is the rotation back, so sign -1 turns the sine
// around.
template <class T>
void rope(Index rows, Index heads, Index head_dim, Index pairs, const float* cos, const float* sin,
          const std::int32_t* positions, double sign, T* x) {
  using A = Acc<T>;
  const A direction = static_cast<A>(sign);
  for (Index i = 0; i < rows; ++i) {
    const float* c = cos + positions[i] * pairs;
    const float* s = sin + positions[i] * pairs;
    for (Index head = 0; head < heads; ++head) {
      T* a = x + (i * heads + head) * head_dim;
      T* b = a + pairs;
#pragma omp simd
      for (Index j = 0; j < pairs; ++j) {
        const A u = load(a[j]);
        const A v = load(b[j]);
        const A cj = static_cast<A>(c[j]);
        const A sj = static_cast<A>(s[j]) * direction;
        store(a[j], u * cj - v * sj);
        store(b[j], v * cj + u * sj);
      }
    }
  }
}

}  // namespace

namespace GM_ISA {
void fill_rope(KernelSet& set) {
  set.f32.rope = rope<float>;
  set.f64.rope = rope<double>;
  set.bf16.rope = rope<Bf16>;
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
