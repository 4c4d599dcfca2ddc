// The merge methods: one table, one function each.
//
// A method sees one tensor of all models at a time, as tiles of float32 read from the mapped files,
// and writes float32 tiles that are rounded once to the output dtype. It never holds a whole
// tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

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
    TileSource fisher;  // methods with statistics only
    double weight = 1.0;
    double density = 1.0;
    double fisher_scale = 1.0;  // 1 / the model's global L2 norm of F
  };

  std::string name;
  std::int64_t num_elements = 0;
  TileSource base;            // methods with a base only
  std::vector<Input> inputs;  // the models, base apart, in the recipe's order
  bool normalize = false;
  bool rescale = false;
  double lambda = 1.0;
  std::uint64_t seed = 0;  // of random methods
  TileSink out;
  BesideWork beside;
};

/// The pass that makes the result: fn(tile index, first element, count) returns the tile's values,
/// which are written. On all threads, together with task.beside.
void for_each_output_tile(const TensorTask& task,
                          const std::function<const float*(std::int64_t tile, std::int64_t offset,
                                                           std::int64_t count)>& fn);

using MethodFunction = void (*)(const TensorTask& task);

enum class BaseUse { kNone, kRequired };

struct Method {
  const char* name;
  const char* doc;  // one line
  BaseUse base;
  bool needs_statistics;
  bool has_density;
  bool has_lambda;
  bool weight_required;
  bool has_normalize;
  bool normalize_default;
  bool is_random;  // takes random_seed, and rescale (on by default)
  MethodFunction function;
};

[[nodiscard]] std::span<const Method> methods();
/// Errors: kInvalidArgument naming `where`, the methods there are and the nearest one.
[[nodiscard]] const Method& find_method(const std::string& name, const std::string& where);

/// theta = sum w_i theta_i, divided by sum w_i where normalize (an error where that sum is 0).
/// mergekit's `linear`. Float32, models added in order.
void linear_merge(const TensorTask& task);

/// theta = theta_0 + lambda sum w_i (theta_i - theta_0), the sum divided by sum w_i where normalize
/// (by 1 where that is below 1e-8). Ilharco et al. 2022, arXiv 2212.04089; mergekit's
/// `task_arithmetic`.
void task_arithmetic_merge(const TensorTask& task);

/// TIES (Yadav et al. 2023, arXiv 2306.01708, Algorithm 1) in mergekit's form: per tensor and model
/// keep the k = max(1, int(density n)) entries of delta_i = theta_i - theta_0 with the largest
/// magnitude (of equal ones, those with the lowest index; none where density is 0); elect the sign
/// of sum w_i delta_i (0 counts as +); add the w_i delta_i of that sign, divided element by element
/// by the sum of their w_i where normalize; times lambda; plus theta_0. Deviations from the paper:
/// trims per tensor, not over the whole model; weights come before the election. Cost: two passes
/// over the inputs where density < 1, else one (magnitude_select.h). Memory: some 100 KB a thread,
/// and a few percent of a tensor's elements for each model.
void ties_merge(const TensorTask& task);

/// DARE with TIES' election (Yu et al. 2023, arXiv 2311.03099), in mergekit's form: per model each
/// entry of delta_i survives with probability density (to 2^-16), independently; where `rescale`
/// the rest is multiplied by sum |delta_i| / sum |surviving delta_i| over the tensor (not where
/// either is below 1e-7); then weights, election, average and lambda as ties_merge. Random bits are
/// Philox's, a function of seed, position of the model in the recipe, tensor name and element.
/// Cost: two passes over the inputs, one without rescale. Deviation from the paper: it divides by
/// density.
void dare_ties_merge(const TensorTask& task);

/// theta = sum w_i F_i theta_i / sum w_i F_i with F_i = max(F_i / |F_i|, 1e-6), |F_i| the L2 norm
/// over all tensors of model i (Matena & Raffel 2021, arXiv 2111.09832). An error where sum w_i F_i
/// is 0.
void fisher_merge(const TensorTask& task);

}  // namespace growmerge::merging
