// DELLA: differences thinned out at random by their rank, one sign elected for each entry. Deep et
// al. 2024, arXiv 2406.11617; mergekit's `della`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// In each row of delta_i = theta_i - theta_0 the entry of rank r by magnitude survives with
/// probability density - epsilon + 2 epsilon r / (d - 1); where `rescale` the rest is multiplied by
/// the tensor's sum of magnitudes over that of what survived; then weights, election, average and
/// lambda as ties_merge(). Deviation from the paper, as mergekit's: not by 1 / p.
void della_merge(const TensorTask& task);

inline constexpr Parameter kDellaParameters[] = {kWeight, kDensity, kEpsilon, kNormalize,
                                                 kLambda, kRescale, kInt8Mask};

inline constexpr Method kDella = {
    .name = "della",
    .doc = "the differences thinned out at random by rank and rescaled, one sign elected per entry",
    .source = "arXiv 2406.11617",
    .definition =
        "in each row of delta_i the entry of rank r by magnitude, of d, survives with probability "
        "density - epsilon + 2 epsilon r / (d - 1); where rescale, times the sum of magnitudes "
        "over "
        "the sum of those that survived; then as ties from the weights on",
    .needs = {.base = BaseUse::kRequired, .random_numbers = true},
    .parameters = kDellaParameters,
    .granularity = Granularity::kTensor,
    .memory_per_element = 0.125,  // a bit
    .merge = &della_merge};

}  // namespace growmerge::merging
