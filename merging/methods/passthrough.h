// A model's tensors as they are, or times a factor: what stacks of layers are made of. mergekit's
// `passthrough`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// scale theta_1.
void passthrough_merge(const TensorTask& task);

inline constexpr Parameter kScale = {.name = "scale",
                                     .scope = Parameter::Scope::kModel,
                                     .type = ParameterValue::Type::kNumber,
                                     .fallback = 1.0,
                                     .doc = "a factor"};
inline constexpr Parameter kPassthroughParameters[] = {kScale};

inline constexpr Method kPassthrough = {.name = "passthrough",
                                        .doc = "one model's tensors, times a factor",
                                        .source = "mergekit",
                                        .definition = "scale theta_1",
                                        .needs = {.max_models = 1},
                                        .parameters = kPassthroughParameters,
                                        .granularity = Granularity::kTile,
                                        .merge = &passthrough_merge};

}  // namespace growmerge::merging
