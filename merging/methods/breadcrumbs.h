// Model Breadcrumbs: differences without their outliers and their noise. Davari & Belilovsky 2023,
// arXiv 2312.06795; mergekit's `breadcrumbs`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// Per tensor and model, of delta_i = theta_i - theta_0 the int(gamma n) entries with the largest
/// magnitude go, and of the rest all but the int(density n) largest (fewer of the former where not
/// as many are left); theta_0 + lambda sum w_i delta_i, over sum w_i where normalize. Two passes.
void breadcrumbs_merge(const TensorTask& task);

inline constexpr Parameter kBreadcrumbsParameters[] = {
    kWeight, kDensity, kGamma, with_default(kNormalize, 0.0), kLambda, kNoRescale, kInt8Mask};

inline constexpr Method kBreadcrumbs = {
    .name = "breadcrumbs",
    .doc = "the differences without their largest and smallest entries, summed",
    .source = "arXiv 2312.06795",
    .definition =
        "of delta_i, n entries, the int(gamma n) largest go, and of the rest all but the "
        "int(density n) largest; theta_0 + lambda sum w_i delta_i",
    .needs = {.base = BaseUse::kRequired},
    .parameters = kBreadcrumbsParameters,
    .granularity = Granularity::kTensor,
    .memory_per_element = 0.25,  // twice what magnitude_bracket.h keeps
    .merge = &breadcrumbs_merge};

}  // namespace growmerge::merging
