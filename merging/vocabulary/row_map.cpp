#include "merging/vocabulary/row_map.h"

#include <algorithm>
#include <memory>
#include <mutex>

namespace growmerge::merging {
namespace {

/// What the tiles of one mapped tensor share. The map outlives it: it is the plan's.
class MappedRows {
 public:
  MappedRows(const RowMap& map, std::vector<TileSource> models, std::int64_t columns)
      : map_(map), models_(std::move(models)), columns_(columns) {}

  void load(std::int64_t offset, std::int64_t count, float* out) {
    while (count > 0) {
      const std::int64_t column = offset % columns_;
      const std::int64_t size = std::min(count, columns_ - column);
      load_part(map_.rows[static_cast<std::size_t>(offset / columns_)], column, size, out);
      out += size;
      offset += size;
      count -= size;
    }
  }

 private:
  void load_part(const RowMap::Row& row, std::int64_t column, std::int64_t size, float* out) {
    switch (row.kind) {
      case RowMap::Kind::kModel:
        models_[static_cast<std::size_t>(row.model)].load(row.row * columns_ + column, size, out);
        break;
      case RowMap::Kind::kMean:
        load_mean(map_.means[static_cast<std::size_t>(row.row)], column, size, out);
        break;
      case RowMap::Kind::kZero:
        std::fill_n(out, size, 0.0F);
        break;
      case RowMap::Kind::kPadding:
        std::call_once(has_padding_, [this] { make_padding(); });
        std::copy_n(padding_.begin() + column, size, out);
        break;
    }
  }
  void load_mean(const std::vector<RowMap::Row>& rows, std::int64_t column, std::int64_t size,
                 float* out) {
    std::vector<float> one(static_cast<std::size_t>(size));
    std::fill_n(out, size, 0.0F);
    for (const RowMap::Row& row : rows) {
      load_part(row, column, size, one.data());
      for (std::int64_t i = 0; i < size; ++i) {
        out[i] += one[static_cast<std::size_t>(i)];
      }
    }
    const auto number = static_cast<float>(rows.size());
    for (std::int64_t i = 0; i < size; ++i) {
      out[i] /= number;
    }
  }
  void make_padding() {
    std::vector<double> sum(static_cast<std::size_t>(columns_), 0.0);
    std::vector<float> one(static_cast<std::size_t>(columns_));
    std::int64_t number = 0;
    for (const RowMap::Row& row : map_.rows) {
      if (row.kind == RowMap::Kind::kPadding) {
        continue;
      }
      load_part(row, 0, columns_, one.data());
      ++number;
      for (std::size_t i = 0; i < sum.size(); ++i) {
        sum[i] += static_cast<double>(one[i]);
      }
    }
    padding_.resize(sum.size());
    for (std::size_t i = 0; i < sum.size(); ++i) {
      padding_[i] = number == 0 ? 0.0F : static_cast<float>(sum[i] / static_cast<double>(number));
    }
  }

  const RowMap& map_;
  std::vector<TileSource> models_;
  std::int64_t columns_;
  std::once_flag has_padding_;
  std::vector<float> padding_;
};

}  // namespace

TileSource mapped_tiles(const RowMap& map, std::vector<TileSource> models, std::int64_t columns,
                        std::string label) {
  TileSource out;
  out.dtype = models.front().dtype;
  out.label = std::move(label);
  // Copies of a task share it: the padding is made once.
  const auto rows = std::make_shared<MappedRows>(map, std::move(models), columns);
  out.compute = [rows](std::int64_t offset, std::int64_t count, float* values) {
    rows->load(offset, count, values);
  };
  return out;
}

}  // namespace growmerge::merging
