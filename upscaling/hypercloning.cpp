#include "upscaling/hypercloning.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/model/families.h"

namespace growmerge::upscaling {
namespace {

constexpr const char* kGrowthKey = "growmerge_growth";

// How one matrix [R, C] grows: row_copies x col_copies blocks, each divided by `divisor`.
struct Blocks {
  std::int64_t rows = 0;  // R of the source
  std::int64_t cols = 0;
  std::int64_t row_copies = 1;
  std::int64_t col_copies = 1;
  std::int64_t group_rows = 0;  // rows that share one noise power: a head in q, k, v, else R
  double divisor = 1.0;
  double offset = 0.0;  // what is divided is the weight and this number (a gain of Gemma's)
};

Blocks blocks_of(const ModelConfig& source, const AxisCopies& copies, const TensorRow& row,
                 const at::Tensor& weight) {
  Blocks b;
  b.rows = weight.size(0);
  b.row_copies = copies.of(row.dims[0]);
  b.cols = row.dims.size() == 2 ? weight.size(1) : 1;
  b.col_copies = row.dims.size() == 2 ? copies.of(row.dims[1]) : 1;
  const Axis outer = row.dims[0].front();
  const bool by_head = outer == Axis::kQHead || outer == Axis::kKvHead;
  b.group_rows = by_head ? source.head_dim : b.rows;
  if (row.summed_dim == 1) {
    b.divisor = static_cast<double>(b.col_copies);
  }
  const double factor = source.lm_head_normalization_factor;
  const auto n = static_cast<double>(copies.of(Axis::kResidual));
  const Family& family = family_of(source);
  // Where the embedding is multiplied by the root of its width, the wider model multiplies by more.
  const double embedding = family.scales_embedding ? std::sqrt(n) : 1.0;
  if (row.kind == TensorKind::kEmbedding) {
    b.divisor = embedding;
  } else if (row.kind == TensorKind::kFinalNormGain && source.tie_word_embeddings) {
    b.divisor = n * factor / embedding;
    b.offset = family.gain_offset;
  } else if (row.kind == TensorKind::kHead) {
    b.divisor *= factor;
  }
  return b;
}

void check_shape(const ModelConfig& source, const TensorRow& row, const std::string& name,
                 const at::Tensor& weight) {
  const std::vector<std::int64_t> expected = tensor_shape(source, row);
  GM_CHECK(weight.sizes() == at::IntArrayRef(expected), kMismatch, "growth: tensor '", name,
           "' has shape ", weight.sizes(), ", its config says ", at::IntArrayRef(expected));
}

// W / divisor in every block; out is [row_copies * R, col_copies * C].
void tile_blocks(const double* weight, double* out, const Blocks& b) {
  const std::int64_t width = b.cols * b.col_copies;
  at::parallel_for(0, b.rows * b.row_copies, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const double* source = weight + (row % b.rows) * b.cols;
      for (std::int64_t copy = 0; copy < b.col_copies; ++copy) {
        double* target = out + row * width + copy * b.cols;
        for (std::int64_t col = 0; col < b.cols; ++col) {
          target[col] = (source[col] + b.offset) / b.divisor - b.offset;
        }
      }
    }
  });
}

// Adds zero-sum noise to one group of rows [first, first + b.group_rows) of `out`.
void add_group_noise(double* out, const Blocks& b, std::int64_t first, double snr_db,
                     const Philox& random) {
  const std::int64_t n = b.col_copies;
  const std::int64_t width = b.cols * n;
  const std::int64_t count = b.group_rows * width;
  double* group = out + first * width;
  std::vector<double> noise(static_cast<std::size_t>(count));
  double signal_power = 0.0;
  double noise_power = 0.0;
  for (std::int64_t row = 0; row < b.group_rows; ++row) {
    double* line = noise.data() + row * width;
    const auto position = static_cast<std::uint64_t>((first + row) * width);
    for (std::int64_t i = 0; i < width; ++i) {
      line[i] = random.normal(position + static_cast<std::uint64_t>(i));
      const double w = group[row * width + i];
      signal_power += w * w;
    }
    // Their mean taken off, the copies' shares cancel whatever the input is: the function is kept.
    for (std::int64_t col = 0; col < b.cols; ++col) {
      double mean = 0.0;
      for (std::int64_t copy = 0; copy < n; ++copy) {
        mean += line[copy * b.cols + col];
      }
      mean /= static_cast<double>(n);
      for (std::int64_t copy = 0; copy < n; ++copy) {
        double& value = line[copy * b.cols + col];
        value -= mean;
        noise_power += value * value;
      }
    }
  }
  if (signal_power == 0.0 || noise_power == 0.0) {
    return;  // nothing to be relative to, or a single column block
  }
  const double scale = std::sqrt(signal_power / noise_power * std::pow(10.0, -snr_db / 10.0));
  for (std::int64_t i = 0; i < count; ++i) {
    group[i] += scale * noise[static_cast<std::size_t>(i)];
  }
}

// Rounds the column blocks 0 .. n-2 and lets the last one carry the rest, so that the blocks add up
// to `weight` in spite of rounding.
at::Tensor round_zero_sum(const at::Tensor& grown, const double* weight, const Blocks& b,
                          at::ScalarType dtype) {
  const at::Tensor rounded = grown.to(dtype).to(at::ScalarType::Double);
  double* out = rounded.data_ptr<double>();
  const std::int64_t width = b.cols * b.col_copies;
  const double scale = static_cast<double>(b.col_copies) / b.divisor;
  at::parallel_for(0, b.rows * b.row_copies, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t col = 0; col < b.cols; ++col) {
        double rest = weight[(row % b.rows) * b.cols + col] * scale;
        for (std::int64_t copy = 0; copy + 1 < b.col_copies; ++copy) {
          rest -= out[row * width + copy * b.cols + col];
        }
        out[row * width + (b.col_copies - 1) * b.cols + col] = rest;
      }
    }
  });
  return rounded.to(dtype);
}

}  // namespace

void HypercloningConfig::validate() const {
  GM_CHECK(width_factor >= 1, kInvalidArgument, "upscale: width_factor must be at least 1, got ",
           width_factor);
  GM_CHECK(noise == "none" || noise == "zero_sum", kInvalidArgument,
           "upscale: noise must be none or zero_sum, got '", noise, "'");
  GM_CHECK(std::isfinite(snr_db), kInvalidArgument, "upscale: snr_db must be finite, got ", snr_db);
}

ModelConfig grown_config(const ModelConfig& source, const HypercloningConfig& config,
                         const std::string& source_identity) {
  config.validate();
  source.validate();
  const AxisCopies copies = width_copies(source, config.width_factor);
  ModelConfig out = source;
  // The factor stands in the grown weights now (blocks_of): what remains is a plain model.
  if (const char* plain = family_of(source.architecture).folds_into) {
    out.architecture = plain;
  }
  out.lm_head_normalization_factor = 1.0;
  out.hidden_size *= copies.of(Axis::kResidual);
  out.intermediate_size *= copies.of(Axis::kFfn);
  out.num_heads *= copies.of(Axis::kQHead);
  out.num_kv_heads *= copies.of(Axis::kKvHead);

  nlohmann::ordered_json json = source.source_json.empty()
                                    ? nlohmann::ordered_json::object()
                                    : nlohmann::ordered_json::parse(source.source_json);
  (void)growth_records(source);  // refuses what the new record could not stand behind
  const bool noisy = config.noise != "none";
  json[kGrowthKey].push_back({{"width_factor", config.width_factor},
                              {"noise", config.noise},
                              {"snr_db", noisy ? config.snr_db : 0.0},
                              {"seed", config.seed},
                              {"source_identity", source_identity},
                              {"source_hidden_size", source.hidden_size},
                              {"source_num_heads", source.num_heads},
                              {"source_num_kv_heads", source.num_kv_heads},
                              {"source_intermediate_size", source.intermediate_size}});
  out.source_json = json.dump();
  return out;
}

std::vector<GrowthRecord> growth_records(const ModelConfig& config) {
  std::vector<GrowthRecord> out;
  if (config.source_json.empty()) {
    return out;
  }
  try {
    const nlohmann::json json = nlohmann::json::parse(config.source_json);
    if (!json.contains(kGrowthKey)) {
      return out;
    }
    const nlohmann::json& records = json.at(kGrowthKey);
    GM_CHECK(records.is_array() || records.is_null(), kCorrupt, "config.json: '", kGrowthKey,
             "' must be a list of growth records, got ", records.type_name());
    for (const nlohmann::json& item : records) {
      out.push_back({.width_factor = item.at("width_factor"),
                     .noise = item.at("noise"),
                     .snr_db = item.at("snr_db"),
                     .seed = item.at("seed"),
                     .source_identity = item.at("source_identity"),
                     .source_hidden_size = item.at("source_hidden_size"),
                     .source_num_heads = item.at("source_num_heads"),
                     .source_num_kv_heads = item.at("source_num_kv_heads"),
                     .source_intermediate_size = item.at("source_intermediate_size")});
    }
  } catch (const nlohmann::json::exception& e) {
    fail(ErrorCode::kCorrupt, "config.json: '", kGrowthKey,
         "' must be a list of growth records: ", e.what());
  }
  return out;
}

namespace {

/// A vocabulary's rows, a run of them at a time: a wide embedding in float64 would be the most that
/// a growth holds.
at::Tensor grow_vocabulary(const Blocks& blocks, const at::Tensor& weight, at::ScalarType dtype) {
  constexpr std::int64_t kRows = 4096;
  const at::Tensor grown =
      at::empty({blocks.rows, blocks.cols * blocks.col_copies}, weight.options().dtype(dtype));
  for (std::int64_t begin = 0; begin < blocks.rows; begin += kRows) {
    Blocks some = blocks;
    some.rows = std::min(kRows, blocks.rows - begin);
    const at::Tensor exact =
        weight.narrow(0, begin, some.rows).to(at::ScalarType::Double).contiguous();
    const at::Tensor tiled = at::empty({some.rows, grown.size(1)}, exact.options());
    tile_blocks(exact.const_data_ptr<double>(), tiled.data_ptr<double>(), some);
    grown.narrow(0, begin, some.rows).copy_(tiled);
  }
  return grown;
}

/// One tensor, or one part of a fused one; `name` says which random numbers are its noise.
at::Tensor grow_rows(const ModelConfig& source, const HypercloningConfig& config,
                     const TensorRow& row, const std::string& name, const at::Tensor& weight,
                     at::ScalarType dtype) {
  const AxisCopies copies = width_copies(source, config.width_factor);
  const Blocks b = blocks_of(source, copies, row, weight);
  if (row.dims[0].front() == Axis::kVocab) {
    return grow_vocabulary(b, weight, dtype);
  }
  // One rounding at the end: blocks of a bfloat16 source are quotients that float32 would round.
  const at::Tensor exact = weight.to(at::ScalarType::Double).contiguous();
  std::vector<std::int64_t> shape = {b.rows * b.row_copies};
  if (row.dims.size() == 2) {
    shape.push_back(b.cols * b.col_copies);
  }
  const at::Tensor grown = at::empty(shape, exact.options());
  double* out = grown.data_ptr<double>();
  tile_blocks(exact.const_data_ptr<double>(), out, b);

  const bool noisy =
      config.noise == "zero_sum" && row.kind == TensorKind::kMatrix && b.col_copies > 1;
  if (!noisy) {
    return grown.to(dtype);
  }
  // By name and place, so that neither threads nor the order of tensors changes a number.
  const Philox random(static_cast<std::uint64_t>(config.seed), stream_id("growth-noise/" + name));
  at::parallel_for(0, b.rows * b.row_copies / b.group_rows, 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t group = begin; group < end; ++group) {
                       add_group_noise(out, b, group * b.group_rows, config.snr_db, random);
                     }
                   });
  return dtype == at::ScalarType::Double
             ? grown
             : round_zero_sum(grown, exact.const_data_ptr<double>(), b, dtype);
}

}  // namespace

at::Tensor grow_tensor(const ModelConfig& source, const HypercloningConfig& config,
                       const std::string& name, const at::Tensor& weight, at::ScalarType dtype) {
  const TensorPlace place = tensor_place(name, &source);
  check_shape(source, *place.row, name, weight);
  if (place.row->parts.empty()) {
    return grow_rows(source, config, *place.row, name, weight, dtype);
  }
  // Repeated as a whole, rows of queries would lie where keys are looked for.
  std::vector<at::Tensor> parts;
  std::int64_t first = 0;
  for (const Role role : place.row->parts) {
    const std::int64_t rows = tensor_shape(source, tensor_row(role))[0];
    parts.push_back(grow_rows(source, config, tensor_row(role), tensor_name(role, *place.layer),
                              weight.narrow(0, first, rows), dtype));
    first += rows;
  }
  return at::cat(parts);
}

Model grow_width(const Model& source, const HypercloningConfig& config, at::ScalarType dtype,
                 const std::string& source_identity) {
  Model out;
  out.config = grown_config(source.config, config, source_identity);
  for (const auto& [name, weight] : source.params) {
    out.params.set(name, grow_tensor(source.config, config, name, weight, dtype));
  }
  return out;
}

}  // namespace growmerge::upscaling
