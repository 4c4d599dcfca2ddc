// Only the important differences of one model: by magnitude and by how much its rows' distributions
// moved. mergekit's `arcee_fusion`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// Importance of an entry: |delta| KL(softmax(row of theta_1) || softmax(row of theta_0)), 1e-8
/// added to each probability. theta_1 where it is at least the median + 1.5 (third - first
/// quartile) of the tensor's importances, theta_0 elsewhere. Quantile q is the one at place int(q
/// (n - 1)) in ascending order, exact; mergekit takes a random sample of larger tensors. Output in
/// the wanted dtype, where mergekit's becomes float32.
void arcee_fusion_merge(const TensorTask& task);

inline constexpr Method kArceeFusion = {
    .name = "arcee_fusion",
    .doc = "the base, with the differences of one model that matter most",
    .source = "mergekit",
    .definition =
        "importance |delta_1| KL(softmax(row of theta_1) || softmax(row of theta_0)); theta_1 "
        "where it is at least the median + 1.5 interquartile ranges, else theta_0",
    .needs = {.base = BaseUse::kRequired, .min_models = 1, .max_models = 1},
    .parameters = {},
    .granularity = Granularity::kTensor,
    .memory_per_element = 0.5,
    .merge = &arcee_fusion_merge};

}  // namespace growmerge::merging
