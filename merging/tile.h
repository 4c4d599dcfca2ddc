// Tiles: runs of elements of one tensor, float32 in memory, any floating dtype in the file.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace growmerge::merging {

inline constexpr std::int64_t kTileElements = 8192;   // 32 KiB: all tiles of a task fit in L2
inline constexpr std::int64_t kBlockElements = 1024;  // 4 KiB: rows of all models stay in L1

[[nodiscard]] inline std::int64_t num_tiles(std::int64_t n) {
  return (n + kTileElements - 1) / kTileElements;
}

/// One tensor of one mapped file, or one that is made of such tiles (of a model with an adapter; of
/// rows in another order).
struct TileSource {
  std::span<const std::byte> bytes;
  at::ScalarType dtype = at::ScalarType::Float;
  std::string label;  // "tensor 'x' of 'runs/nl'", for errors
  /// Where set, load() takes values from here and not from `bytes`, at most a tile at a time.
  /// Called by several threads.
  std::function<void(std::int64_t offset, std::int64_t count, float* out)> compute{};

  /// Elements [offset, offset + count) as float32; any number of them. Errors: kCorrupt naming the
  /// label where one is NaN or infinite.
  void load(std::int64_t offset, std::int64_t count, float* out) const;

 private:
  void load_tile(std::int64_t offset, std::int64_t count, float* out) const;
};

/// The output tensor's place in the file. write() rounds to nearest even, once.
struct TileSink {
  at::ScalarType dtype = at::ScalarType::Float;
  std::string label;
  std::function<void(std::uint64_t byte_offset, std::span<const std::byte> bytes)> put;

  /// Errors: kCorrupt where a value is not finite (or becomes so in a narrower dtype); kIo.
  void write(std::int64_t offset, std::int64_t count, const float* values) const;
  /// The first half of write(): `count` values at `bytes`, in the file's dtype.
  void narrow(std::int64_t count, const float* values, std::byte* bytes) const;
};

/// Calls fn(i) for every i in [0, n), on all threads; the next free thread takes the next i.
/// Exceptions reach the caller.
void for_each_in_parallel(std::int64_t n, const std::function<void(std::int64_t)>& fn);

/// Calls fn(tile index, first element, count) for every tile of n elements, likewise.
void for_each_tile(
    std::int64_t n,
    const std::function<void(std::int64_t tile, std::int64_t offset, std::int64_t count)>& fn);

/// A float32 scratch buffer of `rows` tiles for the calling thread, kept between calls.
[[nodiscard]] float* tile_scratch(std::size_t rows);

}  // namespace growmerge::merging
