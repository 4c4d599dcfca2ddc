// RAM that stresses what one model alone changed, the more of its changes others share. arXiv
// 2601.13572; mergekit's `ramplus_tl`.
#pragma once

#include "merging/methods/ram.h"

namespace growmerge::merging {

/// As ram_merge(), but what model i alone changed is multiplied by 1 + r min(alpha, shared_i /
/// unique_i), with the numbers of its entries in this tensor that others changed, too, and that
/// none did. Two passes.
void ramplus_tl_merge(const TensorTask& task);

inline constexpr Parameter kRamR = {.name = "r",
                                    .scope = Parameter::Scope::kTensor,
                                    .type = ParameterValue::Type::kNumber,
                                    .fallback = 0.1,
                                    .doc = "how much more"};
inline constexpr Parameter kRamAlpha = {.name = "alpha",
                                        .scope = Parameter::Scope::kTensor,
                                        .type = ParameterValue::Type::kNumber,
                                        .fallback = 0.2,
                                        .min = 0.0,
                                        .doc = "the largest ratio of shared to unique that counts"};
inline constexpr Parameter kRamPlusParameters[] = {kRamR, kRamAlpha, kRamEpsilon};

inline constexpr Method kRamPlusTl = {
    .name = "ramplus_tl",
    .doc = "as ram, with more of what one model alone changed",
    .source = "arXiv 2601.13572",
    .definition =
        "as ram; the delta_i that stand alone times 1 + r min(alpha, shared_i / unique_i), by the "
        "numbers of entries in the tensor",
    .needs = {.base = BaseUse::kRequired},
    .parameters = kRamPlusParameters,
    .granularity = Granularity::kTensor,
    .merge = &ramplus_tl_merge};

}  // namespace growmerge::merging
