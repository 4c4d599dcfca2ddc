#include "core/ops/rope.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/ops/dispatch.h"

// Shapes (legend: kernels/kernels.h): x [N, H h]; cos, sin [P, rotary_dim / 2]; positions [N].
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

/// Where yarn blends: pairs below `low` stay, those above `high` are divided.
struct Ramp {
  float low = 0.0F;
  float width = 1.0F;

  /// The share of the divided frequency at pair j.
  [[nodiscard]] float at(std::int64_t j) const {
    return std::clamp((static_cast<float>(j) - low) / width, 0.0F, 1.0F);
  }
};

Ramp yarn_ramp(const RopeParameters& rope, std::int64_t dim) {
  // The pair that turns `rotations` times in the original context.
  const auto pair_of = [&](double rotations) {
    return static_cast<double>(dim) *
           std::log(static_cast<double>(rope.original_max_position_embeddings) /
                    (rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(rope.theta));
  };
  double low = pair_of(rope.beta_fast);
  double high = pair_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  return {static_cast<float>(low), static_cast<float>(low == high ? 0.001 : high - low)};
}

/// theta^(-2 j / h), scaled, for j in [0, h / 2). `is_long`: of longrope's second set.
std::vector<float> frequencies(const RopeParameters& rope, std::int64_t dim, bool is_long) {
  const auto factor = static_cast<float>(rope.factor);
  const Ramp ramp = rope.type == RopeType::kYarn ? yarn_ramp(rope, dim) : Ramp{};
  std::vector<float> out;
  for (std::int64_t j = 0; j < dim / 2; ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(dim);
    const auto power = static_cast<float>(std::pow(rope.theta, static_cast<double>(exponent)));
    const float frequency = 1.0F / power;
    switch (rope.type) {
      case RopeType::kDefault:
      case RopeType::kDynamic:
        out.push_back(frequency);
        break;
      case RopeType::kLinear:
        out.push_back(frequency / factor);
        break;
      case RopeType::kYarn: {
        const float kept = 1.0F - ramp.at(j);
        out.push_back(1.0F / (factor * power) * (1.0F - kept) + frequency * kept);
        break;
      }
      case RopeType::kLlama3:
        out.push_back(llama3_frequency(frequency, rope));
        break;
      case RopeType::kLongrope: {
        const auto& factors = is_long ? rope.long_factor : rope.short_factor;
        out.push_back(1.0F / (static_cast<float>(factors[static_cast<std::size_t>(j)]) * power));
        break;
      }
    }
  }
  return out;
}

/// What cos and sin are multiplied by, and scores so by its square.
double attention_factor(const RopeParameters& rope) {
  if (rope.attention_factor) {
    return *rope.attention_factor;
  }
  if (rope.factor <= 1.0) {
    return 1.0;
  }
  if (rope.type == RopeType::kLongrope) {
    const auto context = static_cast<double>(rope.original_max_position_embeddings);
    return std::sqrt(1.0 + std::log(rope.factor) / std::log(context));
  }
  if (rope.type == RopeType::kYarn) {
    const auto scale = [&](double m) { return 0.1 * m * std::log(rope.factor) + 1.0; };
    const double above = rope.mscale.value_or(0.0);
    const double below = rope.mscale_all_dim.value_or(0.0);
    return above != 0.0 && below != 0.0 ? scale(above) / scale(below) : scale(1.0);
  }
  return 1.0;
}

/// Rows [first, first + count) of the table become positions 0 to count - 1.
void fill_rows(const RopeTable& table, std::int64_t first, std::int64_t count,
               const std::vector<float>& frequency, float factor) {
  const auto half = static_cast<std::int64_t>(frequency.size());
  auto* cos = data<float>(table.cos) + first * half;
  auto* sin = data<float>(table.sin) + first * half;
  at::parallel_for(0, count, grain(16 * half), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      for (std::int64_t j = 0; j < half; ++j) {
        // A float32 angle, but its cosine by way of float64: rounded once.
        const float angle = static_cast<float>(p) * frequency[static_cast<std::size_t>(j)];
        cos[p * half + j] = static_cast<float>(std::cos(static_cast<double>(angle))) * factor;
        sin[p * half + j] = static_cast<float>(std::sin(static_cast<double>(angle))) * factor;
      }
    }
  });
}

}  // namespace

std::int64_t rope_offset(const RopeParameters& rope, std::int64_t length) {
  const bool is_long =
      rope.type == RopeType::kLongrope && length > rope.original_max_position_embeddings;
  return is_long ? rope.original_max_position_embeddings : 0;
}

RopeTable make_rope_table(const RopeParameters& rope, std::int64_t rotary_dim,
                          std::int64_t num_positions) {
  const std::int64_t offset = rope_offset(rope, num_positions);
  const std::int64_t half = rotary_dim / 2;
  const RopeTable table{at::empty({offset + num_positions, half}, at::ScalarType::Float),
                        at::empty({offset + num_positions, half}, at::ScalarType::Float)};
  const auto factor = static_cast<float>(attention_factor(rope));
  if (offset > 0) {
    fill_rows(table, 0, offset, frequencies(rope, rotary_dim, false), factor);
  }
  fill_rows(table, offset, num_positions, frequencies(rope, rotary_dim, offset > 0), factor);
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
      kernels<T>().rope(end - begin, row / head_dim, head_dim, table.cos.size(1), cos, sin,
                        positions + begin, inverse ? -1.0 : 1.0, x + begin * row);
    });
  });
}

}  // namespace growmerge::ops
