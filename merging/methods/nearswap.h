// The base, moved towards one model where both are near. mergekit's `nearswap`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// g = t / |theta_1 - theta_0| (at least 1e-6 below the line) in [0, 1]: g theta_1 + (1 - g)
/// theta_0, element by element.
void nearswap_merge(const TensorTask& task);

inline constexpr Parameter kNearswapT = {.name = "t",
                                         .scope = Parameter::Scope::kTensor,
                                         .type = ParameterValue::Type::kNumber,
                                         .fallback = {},
                                         .doc = "differences up to this are taken whole"};
inline constexpr Parameter kNearswapParameters[] = {kNearswapT};

inline constexpr Method kNearswap = {
    .name = "nearswap",
    .doc = "the base, moved towards one model where both are near",
    .source = "mergekit",
    .definition = "g = t / |delta_1| in [0, 1]; g theta_1 + (1 - g) theta_0",
    .needs = {.base = BaseUse::kRequired, .min_models = 1, .max_models = 1},
    .parameters = kNearswapParameters,
    .granularity = Granularity::kTile,
    .merge = &nearswap_merge};

}  // namespace growmerge::merging
