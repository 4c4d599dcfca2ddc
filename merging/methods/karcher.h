// The Karcher (Riemannian) mean of the models' directions. arXiv 2603.04972; mergekit's `karcher`.
#pragma once

#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

/// u_i = theta_i / |theta_i|, those with |theta_i| <= tol left out; from the direction of their
/// mean on, at most max_iter times: T = sum a (omega_i / sin omega_i) (u_i - cos omega_i u) with
/// cos omega_i = <u, u_i>, a = 1 / their number, terms with omega_i < tol, or whose u_i lies
/// opposite of u (sin omega_i < 1e-6), left out; ended by |T| < tol; u becomes cos |T| u + sin |T|
/// T / |T|, normed. The result is u sum |theta_i| / M. All iterates are combinations of the models,
/// so that the Gram matrix is all that is read: two passes, float64.
void karcher_merge(const TensorTask& task);

inline constexpr Parameter kKarcherSteps = {.name = "max_iter",
                                            .scope = Parameter::Scope::kTensor,
                                            .type = ParameterValue::Type::kNumber,
                                            .fallback = 10.0,
                                            .min = 0.0,
                                            .max = 10000.0,
                                            .doc = "steps at most"};
inline constexpr Parameter kKarcherTolerance = {.name = "tol",
                                                .scope = Parameter::Scope::kTensor,
                                                .type = ParameterValue::Type::kNumber,
                                                .fallback = 1e-5,
                                                .min = 0.0,
                                                .doc = "step, angle and norm that count as 0"};
inline constexpr Parameter kKarcherParameters[] = {kKarcherSteps, kKarcherTolerance};

inline constexpr Method kKarcher = {
    .name = "karcher",
    .doc = "the mean of the models' directions on the sphere, with their mean norm",
    .source = "arXiv 2603.04972",
    .definition =
        "u the point of the unit sphere whose squared arcs to all theta_i / |theta_i| are least, "
        "by "
        "Newton's steps from their mean; u times the mean of |theta_i|",
    .needs = {},
    .parameters = kKarcherParameters,
    .granularity = Granularity::kTensor,
    .merge = &karcher_merge};

}  // namespace growmerge::merging
