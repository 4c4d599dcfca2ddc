#include "core/ops/rope.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "core/ops/dispatch.h"

// Shapes (legend: kernels/kernels.h): x [N, H h]; cos, sin [P, h / 2]; positions [N].
//
// Every cast to float32 below stands where Transformers rounds, so that angles agree to the bit: a
// frequency's rounding error is multiplied by the position.
namespace growmerge::ops {
namespace {

/// Llama 3's scaling of one frequency: one of a short wavelength stays, one of a long wavelength is
/// divided, and between the two both results are blended.
float llama3_frequency(float frequency, const RopeParameters& scaling) {
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  const double low = context / scaling.low_freq_factor;
  const double high = context / scaling.high_freq_factor;
  const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / frequency;
  if (wavelength < high) {
    return frequency;
  }
  const float divided = frequency / static_cast<float>(scaling.factor);
  if (wavelength > low) {
    return divided;
  }
  const float smooth =
      (static_cast<float>(context) / wavelength - static_cast<float>(scaling.low_freq_factor)) /
      static_cast<float>(scaling.high_freq_factor - scaling.low_freq_factor);
  return (1.0F - smooth) * divided + smooth * frequency;
}

/// theta^(-2 j / h) for j in [0, h / 2).
std::vector<float> frequencies(const ModelConfig& config) {
  std::vector<float> out;
  for (std::int64_t j = 0; j < config.head_dim / 2; ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(config.head_dim);
    const float frequency =
        1.0F / static_cast<float>(std::pow(config.rope.theta, static_cast<double>(exponent)));
    out.push_back(config.rope.type == RopeType::kLlama3 ? llama3_frequency(frequency, config.rope)
                                                        : frequency);
  }
  return out;
}

}  // namespace

RopeTable make_rope_table(const ModelConfig& config, std::int64_t num_positions) {
  const std::vector<float> frequency = frequencies(config);
  const std::int64_t half = config.head_dim / 2;
  RopeTable table{at::empty({num_positions, half}, at::ScalarType::Float),
                  at::empty({num_positions, half}, at::ScalarType::Float)};
  auto* cos = data<float>(table.cos);
  auto* sin = data<float>(table.sin);
  at::parallel_for(0, num_positions, grain(16 * half), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      for (std::int64_t j = 0; j < half; ++j) {
        // A float32 angle, but its cosine by way of float64: rounded once.
        const float angle = static_cast<float>(p) * frequency[static_cast<std::size_t>(j)];
        cos[p * half + j] = static_cast<float>(std::cos(static_cast<double>(angle)));
        sin[p * half + j] = static_cast<float>(std::sin(static_cast<double>(angle)));
      }
    }
  });
  return table;
}

void rope_(const at::Tensor& x_NHh, std::int64_t head_dim, const RopeTable& table,
           const at::Tensor& positions_N, bool inverse) {
  if (x_NHh.is_cuda()) {
    return cuda_ops().rope_(x_NHh, head_dim, table, positions_N, inverse);
  }
  const profile::Scope scope("rope", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({x_NHh, x_NHh})};
  });
  const std::int64_t row = x_NHh.size(1);
  const auto* positions = const_data<std::int32_t>(positions_N);
  const auto* cos = const_data<float>(table.cos);
  const auto* sin = const_data<float>(table.sin);
  dispatch(x_NHh.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    T* x = data<T>(x_NHh);
    at::parallel_for(0, x_NHh.size(0), grain(row), [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().rope(end - begin, row / head_dim, head_dim, cos, sin, positions + begin,
                        inverse ? -1.0 : 1.0, x + begin * row);
    });
  });
}

}  // namespace growmerge::ops
