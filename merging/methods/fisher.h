// Fisher-weighted averaging. Matena & Raffel 2021, arXiv 2111.09832. Not mergekit's.
#pragma once

#include "merging/method.h"

namespace growmerge::merging {

/// theta = sum w_i F_i theta_i / sum w_i F_i with F_i = max(F_i / |F_i|, 1e-6), |F_i| the L2 norm
/// over all tensors of model i; model_value of an input is 1 / |F_i|. Errors: kInvalidArgument
/// where sum w_i F_i is 0; kCorrupt where F_i is negative.
void fisher_merge(const TensorTask& task);

/// 1 / |F| of one model, added up in float64; 0 where F is 0 everywhere.
[[nodiscard]] double inverse_fisher_norm(const TensorWalk& for_each_tensor);

inline constexpr Parameter kFisherWeight = {.name = "weight",
                                            .scope = Parameter::Scope::kModel,
                                            .type = ParameterValue::Type::kNumber,
                                            .fallback = 1.0,
                                            .min = 0.0,
                                            .doc = "w_i, the factor of the model's Fisher"};

inline constexpr Parameter kFisherParameters[] = {kFisherWeight};

inline constexpr Method kFisher = {
    .name = "fisher",
    .doc = "average weighted, entry by entry, by the diagonal Fisher information of each model",
    .source = "arXiv 2111.09832",
    .definition =
        "sum w_i F_i theta_i / sum w_i F_i, F_i divided by its L2 norm over the whole "
        "model, then at least 1e-6",
    .needs = {.fisher = true},
    .parameters = kFisherParameters,
    .granularity = Granularity::kModel,
    .model_pass = &inverse_fisher_norm,
    .merge = &fisher_merge};

}  // namespace growmerge::merging
