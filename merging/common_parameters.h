// Parameters that several methods take, by mergekit's names. A method lists its own beside these.
#pragma once

#include "merging/parameter.h"

namespace growmerge::merging {

[[nodiscard]] constexpr Parameter with_default(Parameter parameter, double value) {
  parameter.fallback = value;
  return parameter;
}

inline constexpr Parameter kWeight = {.name = "weight",
                                      .scope = Parameter::Scope::kModel,
                                      .type = ParameterValue::Type::kNumber,
                                      .fallback = {},
                                      .doc = "w_i, the model's factor"};

inline constexpr Parameter kDensity = {
    .name = "density",
    .scope = Parameter::Scope::kModel,
    .type = ParameterValue::Type::kNumber,
    .fallback = 1.0,
    .min = 0.0,
    .max = 1.0,
    .doc = "the share of the entries of its difference that survives"};

inline constexpr Parameter kGamma = {.name = "gamma",
                                     .scope = Parameter::Scope::kModel,
                                     .type = ParameterValue::Type::kNumber,
                                     .fallback = 0.01,
                                     .min = 0.0,
                                     .max = 1.0,
                                     .doc = "the share of the largest entries that goes"};

inline constexpr Parameter kEpsilon = {
    .name = "epsilon",
    .scope = Parameter::Scope::kModel,
    .type = ParameterValue::Type::kNumber,
    .fallback = 0.15,
    .min = 0.0,
    .max = 0.5,
    .doc = "how far the probability of survival lies from density, at the ends of a row"};

inline constexpr Parameter kNormalize = {.name = "normalize",
                                         .scope = Parameter::Scope::kTensor,
                                         .type = ParameterValue::Type::kFlag,
                                         .fallback = 1.0,
                                         .doc = "divide by the sum of the weights that went in"};

inline constexpr Parameter kLambda = {.name = "lambda",
                                      .scope = Parameter::Scope::kTensor,
                                      .type = ParameterValue::Type::kNumber,
                                      .fallback = 1.0,
                                      .doc = "the factor of the merged difference"};

inline constexpr Parameter kRescale = {
    .name = "rescale",
    .scope = Parameter::Scope::kTensor,
    .type = ParameterValue::Type::kFlag,
    .fallback = 1.0,
    .doc = "multiply what survived, so that the sum of magnitudes stays what it was"};

/// Of methods on differences that do not rescale: written out in many recipes for mergekit.
inline constexpr Parameter kNoRescale = {.name = "rescale",
                                         .scope = Parameter::Scope::kTensor,
                                         .type = ParameterValue::Type::kFlag,
                                         .fallback = 0.0,
                                         .max = 0.0,
                                         .is_idle = true,
                                         .doc = "taken where it is false"};

/// How mergekit stores a mask.
inline constexpr Parameter kInt8Mask = {.name = "int8_mask",
                                        .scope = Parameter::Scope::kTensor,
                                        .type = ParameterValue::Type::kFlag,
                                        .fallback = 0.0,
                                        .is_idle = true,
                                        .doc = "taken, changes nothing"};

}  // namespace growmerge::merging
