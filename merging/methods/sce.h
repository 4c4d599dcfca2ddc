// SCE: select the entries in which models vary, calculate weights, erase minorities. Wan et al.
// 2024, arXiv 2408.07990; mergekit's `sce`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// Where select_topk < 1: of the entries whose delta_i = theta_i - theta_0 vary over the models,
/// only the int(select_topk times their number) with the largest variance (of equal ones, those
/// with the lowest index) are kept. w_i = mean delta_i^2 over the sum of those means (1 / M where
/// that is below 1e-6, as mergekit has it); in each entry the delta_i of the sign of sum delta_i (0
/// is +), averaged by their w_i. The model weights follow from the differences alone. Passes: two;
/// five with select_topk.
void sce_merge(const TensorTask& task);

inline constexpr Parameter kSelectTopK = {.name = "select_topk",
                                          .scope = Parameter::Scope::kTensor,
                                          .type = ParameterValue::Type::kNumber,
                                          .fallback = 1.0,
                                          .min = 0.0,
                                          .max = 1.0,
                                          .doc = "the share of the varying entries that is kept"};
inline constexpr Parameter kSceParameters[] = {kSelectTopK, kInt8Mask};

inline constexpr Method kSce = {
    .name = "sce",
    .doc = "the differences where models vary most, by their mean squares, minorities erased",
    .source = "arXiv 2408.07990",
    .definition =
        "keep the int(select_topk n) entries whose delta_i vary most, of the n that vary; w_i = "
        "mean delta_i^2 over their sum; of each entry the delta_i of the sign of sum delta_i, "
        "averaged by w_i; plus theta_0",
    .needs = {.base = BaseUse::kRequired},
    .parameters = kSceParameters,
    .granularity = Granularity::kTensor,
    .memory_per_element = 0.125,
    .merge = &sce_merge};

}  // namespace growmerge::merging
