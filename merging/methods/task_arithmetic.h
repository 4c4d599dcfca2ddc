// Task arithmetic: the models' differences from a base, weighted and added to it. Ilharco et al.
// 2022, arXiv 2212.04089; mergekit's `task_arithmetic`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// theta = theta_0 + lambda sum w_i (theta_i - theta_0), the sum divided by sum w_i where normalize
/// (by 1 where that is below 1e-8).
void task_arithmetic_merge(const TensorTask& task);

inline constexpr Parameter kTaskArithmeticParameters[] = {kWeight, with_default(kNormalize, 0.0),
                                                          kLambda, kNoRescale, kInt8Mask};

inline constexpr Method kTaskArithmetic = {
    .name = "task_arithmetic",
    .doc = "base + lambda * weighted sum of the models' differences from it",
    .source = "arXiv 2212.04089",
    .definition = "theta_0 + lambda sum w_i delta_i; the sum divided by sum w_i where normalize",
    .needs = {.base = BaseUse::kRequired},
    .parameters = kTaskArithmeticParameters,
    .granularity = Granularity::kTile,
    .merge = &task_arithmetic_merge};

}  // namespace growmerge::merging
