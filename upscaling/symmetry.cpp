#include "upscaling/symmetry.h"

#include <ATen/core/Tensor.h>

#include <cmath>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"
#include "upscaling/axis.h"

namespace growmerge::upscaling {
namespace {

// Far below what any noise starts at (10 dB: 0.3) and far above what rounding alone parts (1e-17).
constexpr double kStillClones = 1e-6;

// Sums over the blocks of one or more tensors, float64.
struct BlockSums {
  double within = 0.0;  // sum_k |B_k - mean block|^2
  double square = 0.0;  // sum_k |B_k|^2
  double total = 0.0;   // sum over elements
  double count = 0.0;

  void add(const BlockSums& other) {
    within += other.within;
    square += other.square;
    total += other.total;
    count += other.count;
  }
  /// Of all-zero blocks, such as a bias at its start, nothing can be said: they count as equal.
  [[nodiscard]] double asymmetry() const { return square > 0.0 ? std::sqrt(within / square) : 0.0; }
  [[nodiscard]] double cloning_r2() const {
    const double variance = square - total * total / count;
    return variance > 0.0 ? 1.0 - within / variance : 1.0;
  }
};

// One block's size, and how often it stands in the tensor along each dimension.
struct BlockShape {
  std::int64_t rows, cols, row_copies, col_copies;
};

BlockShape block_shape(const AxisCopies& copies, const TensorRow& row, const at::Tensor& tensor,
                       const std::string& name) {
  // A vector is a matrix of one column.
  BlockShape s{tensor.size(0), 1, copies.of(row.dims[0]), 1};
  if (row.dims.size() == 2) {
    s.cols = tensor.size(1);
    s.col_copies = copies.of(row.dims[1]);
  }
  GM_CHECK(s.rows % s.row_copies == 0 && s.cols % s.col_copies == 0, kMismatch,
           "symmetry: tensor '", name, "' of shape ", tensor.sizes(), " does not hold ",
           s.row_copies, " x ", s.col_copies, " copies");
  s.rows /= s.row_copies;
  s.cols /= s.col_copies;
  return s;
}

/// data [row_copies * rows, col_copies * cols], row-major: for each place in a block, the spread
/// over all blocks of what stands there. Relative to the first block, whose differences from equal
/// blocks are exactly 0; differences from a mean would leave its rounding.
template <class T>
BlockSums block_sums(const T* data, const BlockShape& s) {
  BlockSums out;
  const std::int64_t width = s.cols * s.col_copies;
  const double blocks = static_cast<double>(s.row_copies * s.col_copies);
  for (std::int64_t row = 0; row < s.rows; ++row) {
    for (std::int64_t col = 0; col < s.cols; ++col) {
      const double first = static_cast<double>(data[row * width + col]);
      double sum = 0.0;  // of differences from the first block
      double sum_of_squares = 0.0;
      for (std::int64_t i = 0; i < s.row_copies; ++i) {
        for (std::int64_t j = 0; j < s.col_copies; ++j) {
          const double value =
              static_cast<double>(data[(i * s.rows + row) * width + j * s.cols + col]);
          const double difference = value - first;
          sum += difference;
          sum_of_squares += difference * difference;
          out.square += value * value;
          out.total += value;
        }
      }
      // The two terms cancel where blocks are nearly equal, and rounding could leave less than
      // nothing.
      out.within += std::max(0.0, sum_of_squares - sum * sum / blocks);
    }
  }
  out.count = static_cast<double>(s.rows * s.cols) * blocks;
  return out;
}

BlockSums tensor_sums(const at::Tensor& tensor, const BlockShape& shape) {
  if (tensor.scalar_type() == at::ScalarType::Double) {
    const at::Tensor dense = tensor.cpu().contiguous();
    return block_sums(dense.const_data_ptr<double>(), shape);
  }
  const at::Tensor dense = tensor.cpu().to(at::ScalarType::Float).contiguous();
  return block_sums(dense.const_data_ptr<float>(), shape);
}

/// How often each axis of the source stands in the grown model, checked against the model's own
/// sizes: the record may come from another one.
AxisCopies copies_of(const ModelConfig& config, const GrowthRecord& growth) {
  ModelConfig source = config;
  source.hidden_size = growth.source_hidden_size;
  source.num_heads = growth.source_num_heads;
  source.num_kv_heads = growth.source_num_kv_heads;
  source.intermediate_size = growth.source_intermediate_size;
  const AxisCopies copies = width_copies(source, growth.width_factor);
  for (const Axis axis : {Axis::kResidual, Axis::kQHead, Axis::kKvHead, Axis::kFfn}) {
    const std::int64_t expected = axis_size(source, axis) * copies.of(axis);
    GM_CHECK(expected == axis_size(config, axis), kMismatch, "symmetry: growth by ",
             growth.width_factor, " from ", axis_name(axis), " ", axis_size(source, axis),
             " gives ", expected, ", the model has ", axis_size(config, axis));
  }
  return copies;
}

class SymmetryObserver : public StepObserver {
 public:
  SymmetryObserver(const ModelConfig& config, const GrowthRecord& growth, std::int64_t every)
      : config_(config), growth_(growth), every_(every) {}

  bool wants(std::int64_t step) const override { return step % every_ == 0; }

  void after_step(const StepInfo& info, const ParamMap& params,
                  std::map<std::string, double>& metrics) override {
    if (!wants(info.step)) {
      return;
    }
    const Symmetry symmetry = measure_symmetry(config_, growth_, params);
    for (const auto& [group, value] : symmetry.asymmetry) {
      metrics["asymmetry/" + group] = value;
    }
    metrics["asymmetry/cloning_r2"] = symmetry.cloning_r2;
    const double all = symmetry.asymmetry.at("all");
    if (all < kStillClones) {
      alarm(info.step, all);
    }
  }

 private:
  void alarm(std::int64_t step, double asymmetry) {
    ++alarms_;
    // The 1st, 2nd, 4th, ...: it is seen, and does not fill the log.
    if ((alarms_ & (alarms_ - 1)) == 0) {
      log_warning(concat("symmetry: after ", step, " steps the ", growth_.width_factor,
                         "x grown model still equals the small one (asymmetry ", asymmetry,
                         "): its copies train in step, so the added parameters do nothing; grow "
                         "with noise: zero_sum"));
    }
  }

  ModelConfig config_;
  GrowthRecord growth_;
  std::int64_t every_;
  std::int64_t alarms_ = 0;
};

}  // namespace

Symmetry measure_symmetry(const ModelConfig& config, const GrowthRecord& growth,
                          const ParamMap& params) {
  const AxisCopies copies = copies_of(config, growth);
  std::map<std::string, BlockSums> groups;
  BlockSums all;
  for (const auto& [name, tensor] : params) {
    const auto add = [&](const TensorRow& row, const at::Tensor& rows) {
      const BlockSums sums = tensor_sums(rows, block_shape(copies, row, rows, name));
      groups[row.group()].add(sums);
      // Vectors are left out of the whole: gains start equal whatever the noise.
      if (row.kind == TensorKind::kMatrix) {
        all.add(sums);
      }
    };
    const TensorRow& row = *tensor_place(name, &config).row;
    if (row.parts.empty()) {
      add(row, tensor);
    }
    std::int64_t first = 0;
    for (const Role role : row.parts) {
      const TensorRow& part = tensor_row(role);
      const std::int64_t count = tensor_shape(config, part)[0];
      add(part, tensor.narrow(0, first, count));
      first += count;
    }
  }
  Symmetry out;
  for (const auto& [group, sums] : groups) {
    out.asymmetry[group] = sums.asymmetry();
  }
  out.asymmetry["all"] = all.asymmetry();
  out.cloning_r2 = all.cloning_r2();
  return out;
}

std::unique_ptr<StepObserver> make_symmetry_observer(const ModelConfig& config,
                                                     const GrowthRecord& growth,
                                                     std::int64_t every) {
  GM_CHECK(every >= 1, kInvalidArgument, "symmetry: every must be at least 1 step, got ", every);
  // Only for its check: now, and not at the first step.
  (void)copies_of(config, growth);
  return std::make_unique<SymmetryObserver>(config, growth, every);
}

}  // namespace growmerge::upscaling
