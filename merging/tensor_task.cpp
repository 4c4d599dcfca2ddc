#include "merging/tensor_task.h"

#include <algorithm>

namespace growmerge::merging {
namespace {

constexpr std::int64_t kRunTiles = 8;    // written together: fewer, larger writes are cheaper
constexpr std::int64_t kWindowRuns = 8;  // 1 MB of each bfloat16 file: together inside an L3

}  // namespace

std::vector<float> TensorTask::of_models(const Parameter& parameter) const {
  std::vector<float> out;
  for (const Input& input : inputs) {
    out.push_back(static_cast<float>(input.arguments.number(parameter)));
  }
  return out;
}

void for_each_output_tile(const TensorTask& task,
                          const std::function<const float*(std::int64_t tile, std::int64_t offset,
                                                           std::int64_t count)>& fn) {
  const std::int64_t n = task.num_elements;
  const auto element = static_cast<std::int64_t>(c10::elementSize(task.out.dtype));
  const auto write_run = [&](std::int64_t first, std::int64_t end) {
    thread_local std::vector<std::byte> bytes;
    bytes.resize(static_cast<std::size_t>(kRunTiles * kTileElements * element));
    const std::int64_t run_offset = first * kTileElements;
    for (std::int64_t tile = first; tile < end; ++tile) {
      const std::int64_t offset = tile * kTileElements;
      const std::int64_t count = std::min(kTileElements, n - offset);
      task.out.narrow(count, fn(tile, offset, count),
                      bytes.data() + (offset - run_offset) * element);
    }
    const std::int64_t run_count = std::min(end * kTileElements, n) - run_offset;
    task.out.put(static_cast<std::uint64_t>(run_offset * element),
                 std::span(bytes).first(static_cast<std::size_t>(run_count * element)));
  };
  const std::int64_t tiles = num_tiles(n);
  const std::int64_t runs = (tiles + kRunTiles - 1) / kRunTiles;
  if (runs == 1) {  // not worth waking threads; beside work catches up
    write_run(0, tiles);
    return;
  }
  // Window after window: its runs, then the jobs beside them.
  const std::int64_t window = kWindowRuns + task.beside.num_jobs;
  const std::int64_t windows = (runs + kWindowRuns - 1) / kWindowRuns;
  for_each_in_parallel(windows * window, [&](std::int64_t i) {
    const std::int64_t first = i / window * kWindowRuns;
    const std::int64_t place = i % window;
    if (place >= kWindowRuns) {
      const std::int64_t end = (first + kWindowRuns) * kRunTiles * kTileElements;
      task.beside.run(place - kWindowRuns, std::min(end, n));
    } else if (first + place < runs) {
      const std::int64_t tile = (first + place) * kRunTiles;
      write_run(tile, std::min(tile + kRunTiles, tiles));
    }
  });
}

}  // namespace growmerge::merging
