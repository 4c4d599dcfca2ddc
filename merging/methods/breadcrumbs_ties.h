// Model Breadcrumbs with TIES' election. arXiv 2312.06795 and 2306.01708; mergekit's
// `breadcrumbs_ties`.
#pragma once

#include "merging/methods/breadcrumbs.h"

namespace growmerge::merging {

/// What breadcrumbs_merge() keeps, then weights, election, average and lambda as ties_merge().
void breadcrumbs_ties_merge(const TensorTask& task);

inline constexpr Method kBreadcrumbsTies = {
    .name = "breadcrumbs_ties",
    .doc = "the differences without their largest and smallest entries, one sign elected per entry",
    .source = "arXiv 2312.06795",
    .definition = "what breadcrumbs keeps of delta_i; then as ties from the weights on",
    .needs = {.base = BaseUse::kRequired},
    .parameters = kBreadcrumbsParameters,
    .granularity = Granularity::kTensor,
    .memory_per_element = 0.25,
    .merge = &breadcrumbs_ties_merge};

}  // namespace growmerge::merging
