// Products of matrices on one thread: 8 rows by two vectors of sums in registers, A and B in blocks
// that stay in cache (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix
// Multiplication").
//
// Shapes: C [m, n] (+)= A [m, k] B [k, n], all by strides (kernels.h: GemmTask, units.h: unit and
// panel). Loops, from the outside: columns of B by a block, K by a depth, rows of A by 64, panels
// of the block, rows by 8. So a panel of B is multiplied by 64 rows while it is in the first cache,
// and a block of B by all rows of A while it is in the second.
#include "core/ops/kernels/units.h"

namespace growmerge::ops {
namespace {

/// A block of an operand: rows row_step elements apart, columns column_step apart; one of both
/// is 1.
template <class T>
struct Block {
  const T* at;
  Index rows, columns, row_step, column_step;
};

/// The block that is read next: it comes to the second cache, some lines at a time, while another
/// one is multiplied. Packing alone would wait for memory at every line: operands of a step are too
/// large to have stayed in a cache.
class Ahead {
 public:
  /// `calls` calls of fetch() cover the block, so its lines are asked for evenly and never all at
  /// once.
  template <class T>
  void aim(const Block<T>& block, Index calls) {
    const bool by_rows = block.column_step == 1;
    const auto size = static_cast<Index>(sizeof(T));
    at_ = reinterpret_cast<const char*>(block.at);
    rows_ = by_rows ? block.rows : block.columns;
    stride_ = (by_rows ? block.row_step : block.column_step) * size;
    end_ = (by_rows ? block.columns : block.rows) * size + kLine - 1;
    done_ = 0;
    lines_ = (rows_ * (end_ / kLine + 1) + calls - 1) / calls;
  }

  GM_INLINE void fetch() {
    for (Index i = 0; i < lines_ && rows_ > 0; ++i) {
      __builtin_prefetch(at_ + done_, 0, 2);
      done_ += kLine;
      if (done_ >= end_) {
        done_ = 0;
        at_ += stride_;
        --rows_;
      }
    }
  }

 private:
  static constexpr Index kLine = 64;
  const char* at_ = nullptr;     // of the row that comes next
  Index rows_ = 0, stride_ = 0;  // rows that are left, bytes from one to the next
  Index end_ = 0, done_ = 0;     // bytes of a row, the last line's whole; those asked for
  Index lines_ = 0;              // of each call
};

/// What of a product is being made: rows from i, over so many units of K.
struct Part {
  Index i = 0, units = 0;
  bool add = false;  // to what C holds: its own, or the sum over an earlier part of K
  Ahead next_a, next_b;
};

/// Adds sums [NV kLanes] to a row of the result, or writes them there, rounded.
template <class T, int NV>
GM_INLINE void put(const Vector (&sums)[NV], bool add, T* to) {
#pragma GCC unroll 2
  for (int s = 0; s < NV; ++s) {
    T* at = to + s * kLanes;
    store_as(at, add ? load_as<Vector>(at) + sums[s] : sums[s]);
  }
}

/// The same for `width` sums that do not fill vectors.
template <class T>
GM_INLINE void put_some(const float* sums, Index width, bool add, T* to) {
  for (Index c = 0; c < width; ++c) {
    store(to[c], add ? load(to[c]) + sums[c] : sums[c]);
  }
}

/// sums [MR, width] to rows of the result that lie `stride` apart.
template <class T, int MR, int NV>
GM_INLINE void put_rows(const Vector (&sums)[MR][NV], Index width, bool add, Index stride, T* to) {
  if (width >= NV * kLanes) {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      put(sums[r], add, to + r * stride);
    }
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      Vector row[NV];  // a copy, so that the sums themselves stay in registers
#pragma GCC unroll 2
      for (int s = 0; s < NV; ++s) {
        row[s] = sums[r][s];
      }
      put_some(reinterpret_cast<const float*>(row), width, add, to + r * stride);
    }
  }
}

// That are multiplied between two calls of fetch(). The loop over them has no call in between, so
// that it can be unrolled.
constexpr Index kUnitsBetween = 128;

/// MR rows of A [MR, units] by NV vectors of a panel of B [units, kPanel], to rows part.i .. of C
/// from column j on. Rows begin `apart` units apart, their units `step` apart.
template <class T, int MR, int NV>
GM_INLINE void multiply(const GemmTask<T>& t, Part& part, Index j, const Unit<T>* a, Index apart,
                        Index step, const Unit<T>* panel) {
  const Index at = part.i * t.c_row + j;
  const auto* to = t.sum != nullptr ? reinterpret_cast<const char*>(t.sum + at)
                                    : reinterpret_cast<const char*>(t.c + at);
  const Index bytes = t.c_row * static_cast<Index>(t.sum != nullptr ? sizeof(float) : sizeof(T));
  // C is asked for now and written when the sums are ready.
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
    __builtin_prefetch(to + r * bytes, 1);
    __builtin_prefetch(to + r * bytes + 64, 1);
  }
  Vector acc[MR][NV] = {};
  for (Index u = 0; u < part.units; u += kUnitsBetween) {
    part.next_a.fetch();
    part.next_b.fetch();
    const Index units = part.units - u < kUnitsBetween ? part.units - u : kUnitsBetween;
    add_product<T>(units, a + u * step, apart, step, panel + u * kPanel, acc);
  }
  if (t.row_scale != nullptr) {  // in float32, before anything is rounded
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 2
      for (int s = 0; s < NV; ++s) {
        acc[r][s] *= t.row_scale[part.i + r];
      }
    }
  }
  if (t.sum != nullptr) {
    put_rows(acc, t.n - j, part.add, t.c_row, t.sum + at);
  } else {
    put_rows(acc, t.n - j, part.add, t.c_row, t.c + at);
  }
}

/// Rows of A: packed as [rows / kRows][units][kRows], or as they lie, `apart` units apart.
template <class T>
struct RowsOfA {
  const Unit<T>* at;
  Index apart;
  bool is_packed;
};

/// Rows i .. last_row of A by NV vectors of a panel of B, which is in the first cache meanwhile.
/// What 8 rows leave over goes by 4, then by 1: a row's sum is the same in each.
template <class T, int NV>
void multiply_rows(const GemmTask<T>& t, Part& part, Index i, Index last_row, Index j,
                   RowsOfA<T> block, const Unit<T>* panel) {
  part.i = i;
  const auto rows = [&]<int MR>() {
    if (block.is_packed) {
      multiply<T, MR, NV>(t, part, j, block.at, 1, kRows, panel);
      block.at += MR == kRows ? kRows * part.units : MR;
    } else {
      multiply<T, MR, NV>(t, part, j, block.at, block.apart, 1, panel);
      block.at += MR * block.apart;
    }
    part.i += MR;
  };
  while (part.i + kRows <= last_row) {
    rows.template operator()<kRows>();
  }
  while (part.i + 4 <= last_row) {
    rows.template operator()<4>();
  }
  while (part.i < last_row) {
    rows.template operator()<1>();
  }
}

/// `count` rows of A, which lie beside each other in memory, to [row / kRows][u][row % kRows]: each
/// line of memory is read once.
template <class T>
void pack_side_by_side(Index k, Index count, const T* x, Index step, Unit<T>* to) {
  constexpr Index kDepth = UnitOf<T>::kDepth;
  const Index units = (k + kDepth - 1) / kDepth;
  for (Index u = 0; u < units; ++u) {
    const T* from = x + u * kDepth * step;
    const bool has_second = u < k / kDepth;
    Index r = 0;
#if defined(__AVX512BF16__)
    if constexpr (kDepth == 2) {
      for (; r + 4 * kRows <= count && has_second; r += 4 * kRows) {
        const PairsOfRows pairs = pairs_of_rows(from + r, from + r + step);
        Unit<T>* at = to + r * units + u * kRows;
        const Index group = kRows * units;
        *reinterpret_cast<Halves*>(at) = first_of(pairs.low);
        *reinterpret_cast<Halves*>(at + group) = second_of(pairs.low);
        *reinterpret_cast<Halves*>(at + 2 * group) = first_of(pairs.high);
        *reinterpret_cast<Halves*>(at + 3 * group) = second_of(pairs.high);
      }
    }
#endif
    for (; r + kRows <= count && has_second; r += kRows) {
#pragma omp simd
      for (Index c = 0; c < kRows; ++c) {
        to[r * units + u * kRows + c] = unit_at(from + r + c, step, true);
      }
    }
    for (; r < count; ++r) {
      to[r / kRows * kRows * units + u * kRows + r % kRows] = unit_at(from + r, step, has_second);
    }
  }
}

/// A block of A as it is multiplied, packed to `to` unless its units lie as they are: rows of whole
/// units are read where they lie, at no cost.
template <class T>
RowsOfA<T> load_rows_of_a(const Block<T>& a, Unit<T>* to) {
  constexpr Index kDepth = UnitOf<T>::kDepth;
  const Index units = (a.columns + kDepth - 1) / kDepth;
  if (a.column_step == 1 && a.columns % kDepth == 0 && a.row_step % kDepth == 0) {
    return {reinterpret_cast<const Unit<T>*>(a.at), a.row_step / kDepth, false};
  }
  if (a.row_step == 1) {
    pack_side_by_side(a.columns, a.rows, a.at, a.column_step, to);
  } else {
    for (Index r = 0; r < a.rows; r += kRows) {
      pack<T, kRows>(a.columns, a.rows - r < kRows ? a.rows - r : kRows, a.at + r * a.row_step,
                     a.row_step, a.column_step, to + r * units);
    }
  }
  return {to, 1, true};
}

/// A panel of B as pack() makes it, of rows x[u * step] times scale[u], rounded to T: k rows of
/// `count` columns, scale [k]. No scaled copy of B is made.
template <class T>
void pack_scaled(Index k, Index count, const T* x, Index step, const Acc<T>* scale, Unit<T>* to) {
  constexpr Index kDepth = UnitOf<T>::kDepth;
  Index u = 0;
#if defined(__AVX512BF16__)
  if constexpr (kDepth == 2) {
    for (; u + 1 < k && count == kPanel; u += 2) {
      for (Index c = 0; c < kPanel; c += kLanes) {
        const T* at = x + u * step + c;
        const Vector first = load_as<Vector>(at) * scale[u];
        const Vector second = load_as<Vector>(at + step) * scale[u + 1];
        store_pairs(rounded(first, second), to + u / 2 * kPanel + c);
      }
    }
  }
#endif
  for (; u < k; u += kDepth) {
    T rows[kDepth][kPanel] = {};
    for (Index i = 0; i < kDepth && u + i < k; ++i) {
      const T* from = x + (u + i) * step;
      for_elements<T>(count, [&]<class V>(Index c) {
        store_as(rows[i] + c, load_as<V>(from + c) * scale[u + i]);
      });
    }
#pragma omp simd
    for (Index c = 0; c < kPanel; ++c) {
      to[u / kDepth * kPanel + c] = unit_at(rows[0] + c, kPanel, true);
    }
  }
}

GM_INLINE Index least(Index a, Index b) { return a < b ? a : b; }
GM_INLINE Index parts_of(Index size, Index part) { return (size + part - 1) / part; }

/// Columns [first, last) of B over k rows from p on, to panels [panel][units][kPanel].
template <class T>
void pack_panels(const GemmTask<T>& t, Index p, Index k, Index first, Index last, Index units,
                 Unit<T>* packed_b) {
  for (Index j = first; j < last; j += kPanel) {
    const T* from = t.b + p * t.b_row + j * t.b_col;
    Unit<T>* to = packed_b + (j - first) * units;
    if (t.b_row_scale != nullptr) {
      pack_scaled(k, least(t.n - j, kPanel), from, t.b_row, t.b_row_scale + p, to);
    } else {
      pack<T, kPanel>(k, least(t.n - j, kPanel), from, t.b_col, t.b_row, to);
    }
  }
}

template <class T>
void gemm(const GemmTask<T>& t) {
  constexpr Index kDepth = UnitOf<T>::kDepth;
  // A result that is rounded must be rounded once, so it needs all of K at once.
  const bool whole = kDepth > 1 && t.sum == nullptr;
  // Else K is cut evenly, into parts of whole eights.
  const Index blocks = parts_of(t.k, kGemmDepth * kDepth);
  const Index depth = whole ? t.k : parts_of(t.k, blocks * 8) * 8;
  const Index most = kGemmBlock / parts_of(least(t.k, depth), kDepth) / kPanel * kPanel;
  const Index width = most < kPanel ? kPanel : most;
  auto* packed_a = static_cast<Unit<T>*>(t.scratch);
  Unit<T>* packed_b = packed_a + kGemmRows * parts_of(depth, kDepth);
  const auto a_block = [&](Index i, Index p) {
    return Block<T>{.at = t.a + i * t.a_row + p * t.a_col,
                    .rows = least(t.m - i, kGemmRows),
                    .columns = least(t.k - p, depth),
                    .row_step = t.a_row,
                    .column_step = t.a_col};
  };
  const auto b_block = [&](Index p, Index j) {
    return Block<T>{.at = t.b + p * t.b_row + j * t.b_col,
                    .rows = least(t.k - p, depth),
                    .columns = least(t.n - j, width),
                    .row_step = t.b_row,
                    .column_step = t.b_col};
  };
  Part part;
  for (Index first = 0; first < t.n; first += width) {
    const Index last = least(first + width, t.n);
    for (Index p = 0; p < t.k; p += depth) {
      const Index k = least(t.k - p, depth);
      part.units = parts_of(k, kDepth);
      part.add = t.accumulate || p > 0;
      pack_panels(t, p, k, first, last, part.units, packed_b);
      // What is fetched meanwhile: B's next block over all rows of A, A's next one over these
      // panels.
      const bool more_k = p + depth < t.k;
      const bool more = more_k || last < t.n;
      const Index next_p = more_k ? p + depth : 0;
      const Index next_j = more_k ? first : last;
      const Index calls = parts_of(last - first, kPanel) * parts_of(part.units, kUnitsBetween);
      if (more) {
        part.next_b.aim(b_block(next_p, next_j), parts_of(t.m, kRows) * calls);
      }
      for (Index i = 0; i < t.m; i += kGemmRows) {
        const Index last_row = least(i + kGemmRows, t.m);
        const RowsOfA<T> rows = load_rows_of_a(a_block(i, p), packed_a);
        if (last_row < t.m || more) {
          part.next_a.aim(last_row < t.m ? a_block(last_row, p) : a_block(0, next_p),
                          parts_of(last_row - i, kRows) * calls);
        }
        for (Index j = first; j < last; j += kPanel) {
          const Unit<T>* panel = packed_b + (j - first) * part.units;
          if (t.n - j <= kLanes) {  // the last columns, no more than one vector
            multiply_rows<T, 1>(t, part, i, last_row, j, rows, panel);
          } else {
            multiply_rows<T, 2>(t, part, i, last_row, j, rows, panel);
          }
        }
      }
    }
  }
}

}  // namespace

namespace GM_ISA {
void fill_gemm(KernelSet& set) {
  set.f32.gemm = gemm<float>;
#if defined(__AVX512BF16__)
  set.bf16.gemm = gemm<Bf16>;
#endif
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
