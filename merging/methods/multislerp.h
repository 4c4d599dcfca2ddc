// Barycentric interpolation of several models on a sphere. mergekit's `multislerp`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// v_i = theta_i, or theta_i - theta_0 where there is a base; u_i = v_i / (|v_i| + eps); m = sum
/// w_i u_i over its norm; s = sum w_i (u_i - <u_i, m> m), n = |s| + eps; the result is (m cos n + s
/// sin n / n) sum w_i |v_i| (plus theta_0). w_i over their sum where normalize_weights. A single
/// model is that model. Where |sum w_i u_i| < eps: two models are averaged by their weights. All of
/// it is a combination of the models, found from their Gram matrix in float64. Two passes. Errors:
/// kInvalidArgument where that norm is below eps for more than two, or weights that sum to 0.
void multislerp_merge(const TensorTask& task);

inline constexpr Parameter kNormalizeWeights = {.name = "normalize_weights",
                                                .scope = Parameter::Scope::kTensor,
                                                .type = ParameterValue::Type::kFlag,
                                                .fallback = 1.0,
                                                .doc = "divide the weights by their sum"};
inline constexpr Parameter kMultislerpEps = {.name = "eps",
                                             .scope = Parameter::Scope::kTensor,
                                             .type = ParameterValue::Type::kNumber,
                                             .fallback = 1e-8,
                                             .min = 0.0,
                                             .doc = "added to norms"};
inline constexpr Parameter kMultislerpParameters[] = {kWeight, kNormalizeWeights, kMultislerpEps,
                                                      kInt8Mask};

inline constexpr Method kMultislerp = {
    .name = "multislerp",
    .doc = "several models, or their differences from the base, averaged on the sphere",
    .source = "mergekit",
    .definition =
        "u_i = v_i / |v_i|, m the direction of sum w_i u_i, s = sum w_i (u_i - <u_i, m> m); "
        "(m cos |s| + s sin |s| / |s|) sum w_i |v_i|; v_i = theta_i, or delta_i with a base, which "
        "is added",
    .needs = {.base = BaseUse::kOptional},
    .parameters = kMultislerpParameters,
    .granularity = Granularity::kTensor,
    .merge = &multislerp_merge};

}  // namespace growmerge::merging
