// Slerp with weights, of models or of their differences from a base. mergekit's `nuslerp`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// v_i = theta_i, or theta_i - theta_0 where there is a base; t = w_2 / (w_1 + w_2), 0.5 where that
/// sum is below 1e-6; omega the angle between v_1 and v_2 (norms of at least 1e-7): sin((1 - t)
/// omega) / sin omega v_1 + sin(t omega) / sin omega v_2 (plus theta_0); a straight line where they
/// are colinear (1 - cos^2 <= 1e-12; mergekit's 1e-16 lets models that are opposite but for
/// rounding give values without bound). One angle a tensor where nuslerp_flatten, else one for each
/// row (for each column where nuslerp_row_wise, as mergekit's first dimension is summed over).
void nuslerp_merge(const TensorTask& task);

inline constexpr Parameter kNuslerpFlatten = {.name = "nuslerp_flatten",
                                              .scope = Parameter::Scope::kTensor,
                                              .type = ParameterValue::Type::kFlag,
                                              .fallback = 1.0,
                                              .doc = "one angle a tensor, not one a row"};
inline constexpr Parameter kNuslerpRowWise = {
    .name = "nuslerp_row_wise",
    .scope = Parameter::Scope::kTensor,
    .type = ParameterValue::Type::kFlag,
    .fallback = 0.0,
    .doc = "without nuslerp_flatten: one angle for each column, over the rows"};
inline constexpr Parameter kNuslerpParameters[] = {kWeight, kNuslerpFlatten, kNuslerpRowWise};

inline constexpr Method kNuslerp = {
    .name = "nuslerp",
    .doc = "two models, or their differences from the base, along the arc between them",
    .source = "mergekit",
    .definition =
        "v_i = theta_i, or delta_i with a base; t = w_2 / (w_1 + w_2); slerp of v_1 and v_2 at t, "
        "plus the base; one angle for a tensor, a row or a column",
    .needs = {.base = BaseUse::kOptional, .min_models = 2, .max_models = 2},
    .parameters = kNuslerpParameters,
    .granularity = Granularity::kTensor,
    .merge = &nuslerp_merge};

}  // namespace growmerge::merging
