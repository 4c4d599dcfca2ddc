// Between the base and the models' mean, as far as their angles say. Jang et al. 2024, arXiv
// 2403.19522; mergekit's `model_stock`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// c the mean of the cosines between all pairs of delta_i (products of norms of at least 1e-6,
/// cosines in [-1, 1]), t = M c / (1 + (M - 1) c), 0 where that divisor is below 1e-6: theta_0 + t
/// (mean theta_i - theta_0). For the whole tensor, or row by row where filter_wise. Two passes.
void model_stock_merge(const TensorTask& task);

inline constexpr Parameter kFilterWise = {.name = "filter_wise",
                                          .scope = Parameter::Scope::kTensor,
                                          .type = ParameterValue::Type::kFlag,
                                          .fallback = 0.0,
                                          .doc = "an angle for each row, not for the tensor"};
inline constexpr Parameter kModelStockParameters[] = {kFilterWise};

inline constexpr Method kModelStock = {
    .name = "model_stock",
    .doc = "from the base towards the models' mean, the farther the more their differences agree",
    .source = "arXiv 2403.19522",
    .definition =
        "c the mean cosine between the delta_i, t = M c / (1 + (M - 1) c); "
        "theta_0 + t mean(delta_i)",
    .needs = {.base = BaseUse::kRequired, .min_models = 2},
    .parameters = kModelStockParameters,
    .granularity = Granularity::kTensor,
    .merge = &model_stock_merge};

}  // namespace growmerge::merging
