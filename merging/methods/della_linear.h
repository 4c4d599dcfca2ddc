// DELLA without election. Deep et al. 2024, arXiv 2406.11617; mergekit's `della_linear`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// delta_i thinned out and rescaled as della_merge() does; theta_0 + lambda sum w_i delta_i, over
/// sum w_i where normalize.
void della_linear_merge(const TensorTask& task);

inline constexpr Parameter kDellaLinearParameters[] = {
    kWeight, kDensity, kEpsilon, with_default(kNormalize, 0.0), kLambda, kRescale, kInt8Mask};

inline constexpr Method kDellaLinear = {
    .name = "della_linear",
    .doc = "the differences thinned out at random by rank and rescaled, summed",
    .source = "arXiv 2406.11617",
    .definition =
        "delta_i thinned out and rescaled as della does; theta_0 + lambda sum w_i delta_i",
    .needs = {.base = BaseUse::kRequired, .random_numbers = true},
    .parameters = kDellaLinearParameters,
    .granularity = Granularity::kTensor,
    .memory_per_element = 0.125,
    .merge = &della_linear_merge};

}  // namespace growmerge::merging
