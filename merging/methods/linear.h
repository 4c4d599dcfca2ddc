// Weighted average of models. Wortsman et al. 2022, arXiv 2203.05482; mergekit's `linear`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// theta = sum w_i theta_i, divided by sum w_i where normalize. Float32, models added in order.
/// Errors: kInvalidArgument where that sum is 0, which mergekit lets become infinity.
void linear_merge(const TensorTask& task);

inline constexpr Parameter kLinearParameters[] = {kWeight, kNormalize};

inline constexpr Method kLinear = {
    .name = "linear",
    .doc = "weighted average of the models",
    .source = "arXiv 2203.05482",
    .definition = "sum w_i theta_i; divided by sum w_i where normalize",
    .needs = {},
    .parameters = kLinearParameters,
    .granularity = Granularity::kTile,
    .merge = &linear_merge};

}  // namespace growmerge::merging
