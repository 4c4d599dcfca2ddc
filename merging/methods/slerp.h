// Interpolation along the arc between two models. Shoemake 1985; mergekit's `slerp`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// With c = <theta_0, theta_1> / (|theta_0| |theta_1|) and omega = acos c over the whole tensor:
/// sin((1 - t) omega) / sin omega theta_0 + sin(t omega) / sin omega theta_1. Where |c| > 0.9995,
/// (1 - t) theta_0 + t theta_1. A norm of at most 1e-8 counts as 1. Two passes; angles in float64.
void slerp_merge(const TensorTask& task);

inline constexpr Parameter kSlerpT = {.name = "t",
                                      .scope = Parameter::Scope::kTensor,
                                      .type = ParameterValue::Type::kNumber,
                                      .fallback = {},
                                      .doc = "how far to go: 0 is the base, 1 the other model"};
inline constexpr Parameter kSlerpParameters[] = {kSlerpT};

inline constexpr Method kSlerp = {
    .name = "slerp",
    .doc = "the base and one model, along the arc between them",
    .source = "Shoemake 1985",
    .definition =
        "omega the angle between theta_0 and theta_1; sin((1 - t) omega) / sin omega theta_0 + "
        "sin(t omega) / sin omega theta_1; a straight line where |cos omega| > 0.9995",
    .needs = {.base = BaseUse::kRequired, .min_models = 1, .max_models = 1},
    .parameters = kSlerpParameters,
    .granularity = Granularity::kTensor,
    .merge = &slerp_merge};

}  // namespace growmerge::merging
