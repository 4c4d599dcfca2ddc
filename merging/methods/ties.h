// TIES: differences trimmed by magnitude, one sign elected for each entry. Yadav et al. 2023,
// arXiv 2306.01708, Algorithm 1; mergekit's `ties`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// Per tensor and model keep the k = max(1, int(density n)) entries of delta_i = theta_i - theta_0
/// with the largest magnitude (of equal ones, those with the lowest index; none where density is
/// 0); elect the sign of sum w_i delta_i (0 counts as +); add the w_i delta_i of that sign, divided
/// element by element by the sum of their w_i where normalize; times lambda; plus theta_0.
/// Deviations from the paper: trims per tensor, not over the whole model; weights come before the
/// election. Cost: two passes over the inputs where density < 1, else one (magnitude_select.h).
/// Memory: some 100 KB a thread, and a few percent of a tensor's elements for each model.
void ties_merge(const TensorTask& task);

inline constexpr Parameter kTiesParameters[] = {kWeight, kDensity,   kNormalize,
                                                kLambda, kNoRescale, kInt8Mask};

inline constexpr Method kTies = {
    .name = "ties",
    .doc = "the differences trimmed by magnitude, one sign elected per entry, averaged",
    .source = "arXiv 2306.01708",
    .definition =
        "keep the k = max(1, int(density n)) entries of delta_i with the largest "
        "magnitude, of n; times w_i; elect the sign of the sum (0 is +); sum what "
        "agrees; divided by the sum of the agreeing w_i where normalize; times lambda; "
        "plus theta_0",
    .needs = {.base = BaseUse::kRequired},
    .parameters = kTiesParameters,
    .granularity = Granularity::kTensor,
    .memory_per_element = 0.125,  // what magnitude_bracket.h keeps
    .merge = &ties_merge};

}  // namespace growmerge::merging
