// Where the rows of one model's embedding (and head) come from when the model is brought to another
// vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "merging/tile.h"

namespace growmerge::merging {

struct RowMap {
  enum class Kind : std::int8_t {
    kModel,  // row `row` of model `model`
    kMean,   // the mean of rows: `row` is the place in `means`
    kZero,
    kPadding,  // the mean of all rows that have a token, in the new order
  };
  struct Row {
    Kind kind = Kind::kZero;
    std::int32_t model = 0;
    std::int32_t row = 0;
    bool operator==(const Row&) const = default;
  };
  std::vector<Row> rows;                // of the output
  std::vector<std::vector<Row>> means;  // of kModel alone
};

/// The rows in their new order, made when they are asked for. `models` are the same tensor of each
/// model, [rows, columns]; a map that takes row i of model m for every i is that tensor itself.
/// Means are float32 sums in order, divided once; the mean of all rows is added up in float64.
[[nodiscard]] TileSource mapped_tiles(const RowMap& map, std::vector<TileSource> models,
                                      std::int64_t columns, std::string label);

}  // namespace growmerge::merging
