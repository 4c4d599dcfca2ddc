// DARE with TIES' election: differences thinned out at random and rescaled, one sign elected for
// each entry. Yu et al. 2023, arXiv 2311.03099; mergekit's `dare_ties`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// Per model each entry of delta_i = theta_i - theta_0 survives with probability density (to
/// 2^-16), independently; where `rescale` the rest is multiplied by
/// sum |delta_i| / sum |surviving delta_i| over the tensor (not where either is below 1e-7); then
/// weights, election, average and lambda as ties_merge. Random bits are Philox's, a function of
/// seed, position of the model in the recipe, tensor name and element. Cost: two passes over the
/// inputs, one without rescale. Deviation from the paper: it divides by density.
void dare_ties_merge(const TensorTask& task);

inline constexpr Parameter kDareTiesParameters[] = {
    kWeight, kDensity, with_default(kNormalize, 0.0), kLambda, kRescale, kInt8Mask};

inline constexpr Method kDareTies = {
    .name = "dare_ties",
    .doc = "the differences thinned out at random and rescaled, one sign elected per entry, summed",
    .source = "arXiv 2311.03099",
    .definition =
        "each entry of delta_i survives with probability density; where rescale, times "
        "the sum of magnitudes over the sum of those that survived; then as ties from "
        "the weights on",
    .needs = {.base = BaseUse::kRequired, .random_numbers = true},
    .parameters = kDareTiesParameters,
    .granularity = Granularity::kTensor,
    .merge = &dare_ties_merge};

}  // namespace growmerge::merging
