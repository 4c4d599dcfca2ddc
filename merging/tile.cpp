#include "merging/tile.h"

#include <ATen/Parallel.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "core/base/simd.h"

namespace growmerge::merging {
namespace {

// All ones: infinity or NaN.
constexpr std::uint32_t kExponent = 0x7f800000U;

GM_SIMD void widen_bfloat16(const std::uint16_t* in, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(in[i]) << 16;
    std::memcpy(out + i, &bits, sizeof(bits));
  }
}

GM_SIMD void narrow_bfloat16(const float* in, std::int64_t count, std::uint16_t* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, in + i, sizeof(bits));
    // Nearest even; callers have refused NaN.
    out[i] = static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
  }
}

/// No early exit: a loop without branches is vector code, and the answer is nearly always no.
GM_SIMD bool any_non_finite(const float* values, std::int64_t count) {
  std::uint32_t bad = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, values + i, sizeof(bits));
    bad |= (bits & kExponent) == kExponent ? 1U : 0U;
  }
  return bad != 0;
}

GM_SIMD bool any_exponent(const std::uint16_t* values, std::int64_t count, std::uint16_t exponent) {
  std::uint32_t bad = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    bad |= (values[i] & exponent) == exponent ? 1U : 0U;
  }
  return bad != 0;
}

// dtypes that are rare among checkpoints: no vector code.
template <class T>
void widen_each(const std::byte* in, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

}  // namespace

void TileSource::load(std::int64_t offset, std::int64_t count, float* out) const {
  for (std::int64_t done = 0; done < count; done += kTileElements) {
    load_tile(offset + done, std::min(kTileElements, count - done), out + done);
  }
}

void TileSource::load_tile(std::int64_t offset, std::int64_t count, float* out) const {
  if (compute) {
    compute(offset, count, out);
    GM_CHECK(!any_non_finite(out, count), kCorrupt, label, " becomes NaN or infinity");
    return;
  }
  const std::byte* in = bytes.data() + offset * static_cast<std::int64_t>(c10::elementSize(dtype));
  switch (dtype) {
    case at::ScalarType::BFloat16:
      // Files need not align their tensors; the copy costs nothing beside the mapping itself.
      if (reinterpret_cast<std::uintptr_t>(in) % alignof(std::uint16_t) == 0) {
        widen_bfloat16(reinterpret_cast<const std::uint16_t*>(in), count, out);
      } else {
        std::uint16_t aligned[kTileElements];
        std::memcpy(aligned, in, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
        widen_bfloat16(aligned, count, out);
      }
      break;
    case at::ScalarType::Float:
      std::memcpy(out, in, static_cast<std::size_t>(count) * sizeof(float));
      break;
    case at::ScalarType::Half:
      widen_each<c10::Half>(in, count, out);
      break;
    case at::ScalarType::Double:
      widen_each<double>(in, count, out);
      break;
    default:
      fail(ErrorCode::kUnsupported, label, " has dtype ", c10::toString(dtype));
  }
  if (any_non_finite(out, count)) {
    fail(ErrorCode::kCorrupt, label, " holds NaN or infinity");
  }
}

void TileSink::narrow(std::int64_t count, const float* values, std::byte* bytes) const {
  // Twice: a value may be finite in float32 and not in a narrower dtype.
  bool bad = any_non_finite(values, count);
  switch (dtype) {
    case at::ScalarType::Float:
      std::memcpy(bytes, values, static_cast<std::size_t>(count) * sizeof(float));
      break;
    case at::ScalarType::BFloat16: {
      auto* out = reinterpret_cast<std::uint16_t*>(bytes);
      narrow_bfloat16(values, count, out);
      bad = bad || any_exponent(out, count, 0x7f80U);
      break;
    }
    case at::ScalarType::Half: {
      auto* out = reinterpret_cast<std::uint16_t*>(bytes);
      for (std::int64_t i = 0; i < count; ++i) {
        out[i] = c10::Half(values[i]).x;
      }
      bad = bad || any_exponent(out, count, 0x7c00U);
      break;
    }
    case at::ScalarType::Double:
      std::copy_n(values, count, reinterpret_cast<double*>(bytes));
      break;
    default:
      fail(ErrorCode::kUnsupported, "cannot write ", c10::toString(dtype));
  }
  GM_CHECK(!bad, kCorrupt, "merging ", label, ": a result is not finite in ", c10::toString(dtype),
           ": weights or lambda are too large, or the output dtype too narrow");
}

void TileSink::write(std::int64_t offset, std::int64_t count, const float* values) const {
  GM_ASSERT(count <= kTileElements);
  alignas(64) std::byte buffer[kTileElements * sizeof(double)];
  narrow(count, values, buffer);
  const std::uint64_t size = c10::elementSize(dtype);
  put(static_cast<std::uint64_t>(offset) * size, {buffer, static_cast<std::size_t>(count) * size});
}

void for_each_in_parallel(std::int64_t n, const std::function<void(std::int64_t)>& fn) {
  // Not equal shares: tiles take unequal time where pages come from disk.
  std::atomic<std::int64_t> next{0};
  at::parallel_for(0, std::min<std::int64_t>(n, at::get_num_threads()), 1,
                   [&](std::int64_t, std::int64_t) {
                     for (std::int64_t i = next++; i < n; i = next++) {
                       fn(i);
                     }
                   });
}

void for_each_tile(
    std::int64_t n,
    const std::function<void(std::int64_t tile, std::int64_t offset, std::int64_t count)>& fn) {
  for_each_in_parallel(num_tiles(n), [&](std::int64_t tile) {
    const std::int64_t offset = tile * kTileElements;
    fn(tile, offset, std::min(kTileElements, n - offset));
  });
}

float* tile_scratch(std::size_t rows) {
  // Kept, because a fresh buffer a tile would be page faults a tile.
  thread_local std::vector<float> buffer;
  const std::size_t needed = rows * static_cast<std::size_t>(kTileElements);
  if (buffer.size() < needed) {
    buffer.resize(needed);
  }
  return buffer.data();
}

}  // namespace growmerge::merging
