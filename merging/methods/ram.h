// RAM: what one model alone changed is taken whole, what several changed is averaged. arXiv
// 2601.13572; mergekit's `ram`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// A model is active where |delta_i| > epsilon: theta_0 + the mean of the active delta_i, element
/// by element.
void ram_merge(const TensorTask& task);

inline constexpr Parameter kRamEpsilon = {.name = "epsilon",
                                          .scope = Parameter::Scope::kTensor,
                                          .type = ParameterValue::Type::kNumber,
                                          .fallback = 1e-5,
                                          .min = 0.0,
                                          .doc = "smaller differences count as none"};
inline constexpr Parameter kRamParameters[] = {kRamEpsilon};

inline constexpr Method kRam = {
    .name = "ram",
    .doc = "what one model alone changed, whole; what several changed, averaged",
    .source = "arXiv 2601.13572",
    .definition = "theta_0 + the mean of the delta_i with |delta_i| > epsilon",
    .needs = {.base = BaseUse::kRequired},
    .parameters = kRamParameters,
    .granularity = Granularity::kTile,
    .merge = &ram_merge};

}  // namespace growmerge::merging
