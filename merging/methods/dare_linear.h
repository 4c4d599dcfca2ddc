// DARE: differences thinned out at random and rescaled, then summed. Yu et al. 2023, arXiv
// 2311.03099; mergekit's `dare_linear`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// delta_i = theta_i - theta_0 thinned out and rescaled as dare_ties_merge() does; theta_0 + lambda
/// sum w_i delta_i, over sum w_i where normalize. Deviation from the paper, as mergekit's: what
/// survives is rescaled to the tensor's sum of magnitudes, not by 1 / density.
void dare_linear_merge(const TensorTask& task);

inline constexpr Parameter kDareLinearParameters[] = {
    kWeight, kDensity, with_default(kNormalize, 0.0), kLambda, kRescale, kInt8Mask};

inline constexpr Method kDareLinear = {
    .name = "dare_linear",
    .doc = "the differences thinned out at random and rescaled, summed",
    .source = "arXiv 2311.03099",
    .definition =
        "each entry of delta_i survives with probability density; where rescale, times the sum of "
        "magnitudes over the sum of those that survived; theta_0 + lambda sum w_i delta_i",
    .needs = {.base = BaseUse::kRequired, .random_numbers = true},
    .parameters = kDareLinearParameters,
    .granularity = Granularity::kTensor,
    .merge = &dare_linear_merge};

}  // namespace growmerge::merging
