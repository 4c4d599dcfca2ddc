// What a merge method gets: one tensor of all models, as tiles of float32 read from the mapped
// files, and a place for float32 tiles, which are rounded once to the output dtype.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "merging/parameter.h"
#include "merging/tile.h"

namespace growmerge::merging {

/// Jobs that the threads do between the tiles, in any order and at the same time: for every window
/// of tiles, run(job, end) for each job, while the inputs' elements before `end` are in the caches
/// or about to be read. No promise that every job sees every window.
struct BesideWork {
  std::int64_t num_jobs = 0;
  std::function<void(std::int64_t job, std::int64_t end)> run;
};

/// One output tensor to be made.
struct TensorTask {
  struct Input {
    TileSource weights;
    TileSource fisher;         // methods that need Fisher statistics only
    Arguments arguments;       // the method's parameters of each model
    double model_value = 0.0;  // what the method's model_pass found for this model
  };

  std::string name;
  std::int64_t num_elements = 0;
  std::vector<std::int64_t> shape{};
  bool has_base = false;
  TileSource base;            // where there is one
  std::vector<Input> inputs;  // the models, base apart, in the recipe's order
  Arguments arguments;        // the method's other parameters
  std::uint64_t seed = 0;     // of methods that draw random numbers
  TileSink out;
  BesideWork beside;

  /// A parameter of each model, rounded to the float32 that the arithmetic is in.
  [[nodiscard]] std::vector<float> of_models(const Parameter& parameter) const;
};

/// The pass that makes the result: fn(tile index, first element, count) returns the tile's values,
/// which are written. On all threads, together with task.beside.
void for_each_output_tile(const TensorTask& task,
                          const std::function<const float*(std::int64_t tile, std::int64_t offset,
                                                           std::int64_t count)>& fn);

}  // namespace growmerge::merging
