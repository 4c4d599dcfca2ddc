// Methods that go by angles where there is no angle, or where it is 0 or pi, and by what must hold
// of any models.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstddef>

#include "core/base/error.h"
#include "merging/methods/karcher.h"
#include "merging/methods/model_stock.h"
#include "merging/methods/multislerp.h"
#include "merging/methods/nearswap.h"
#include "merging/methods/nuslerp.h"
#include "merging/methods/ram.h"
#include "merging/methods/ramplus_tl.h"
#include "merging/methods/slerp.h"
#include "tests/merging/methods/method_fixture.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

const Method* const kSphereMethods[] = {&kSlerp, &kNuslerp, &kMultislerp, &kKarcher, &kModelStock};

/// All models and the base become views of these.
void set_models(Fixture& f, const std::vector<Values>& models) {
  f.models = models;
  f.task.inputs.resize(std::min(f.task.inputs.size(), models.size()));
  for (std::size_t m = 0; m < f.task.inputs.size(); ++m) {
    f.task.inputs[m].weights = source(f.models[m]);
  }
}

Values times(const Values& x, float by) {
  Values out = x;
  for (float& value : out) {
    value *= by;
  }
  return out;
}

void expect_values(const Fixture& f, const Values& expected) {
  expect_formula(f, [&](std::size_t i) { return static_cast<double>(expected[i]); });
}

TEST(SphereMethods, OfEqualModelsAreThatModel) {
  for (const Method* method : kSphereMethods) {
    SCOPED_TRACE(method->name);
    Fixture f(*method);
    set_models(f, {f.base, f.base, f.base});
    method->merge(f.task);
    expect_values(f, f.base);
  }
}

TEST(SphereMethods, OfZerosAreZero) {
  for (const Method* method : kSphereMethods) {
    for (const bool has_base : {true, false}) {
      SCOPED_TRACE(method->name);
      Fixture f(*method);
      f.task.has_base = method->needs.base == BaseUse::kOptional ? has_base : f.task.has_base;
      const Values zeros(f.base.size(), 0.0F);
      f.base = zeros;
      set_models(f, {zeros, zeros, zeros});
      method->merge(f.task);
      EXPECT_EQ(f.out, zeros);
    }
  }
}

TEST(SphereMethods, OfOneElementEndBetweenTheModels) {
  for (const Method* method : kSphereMethods) {
    for (const float second : {0.5F, -0.5F}) {
      SCOPED_TRACE(concat(method->name, " ", second));
      Fixture f(*method, {0.6, 0.4, 0.1});
      f.base = {0.25F};
      f.out = {0.0F};
      set_models(f, {{0.75F}, {second}});
      f.task.num_elements = 1;
      f.task.shape = {1};
      method->merge(f.task);
      EXPECT_TRUE(std::abs(f.out[0]) <= 1.0F) << f.out[0];
    }
  }
}

TEST(SphereMethods, OrderOfModelsDoesNotMatter) {
  for (const Method* method : {&kMultislerp, &kKarcher, &kModelStock, &kRam, &kRamPlusTl}) {
    SCOPED_TRACE(method->name);
    Fixture a(*method);
    method->merge(a.task);
    Fixture b(*method);
    std::swap(b.task.inputs[0], b.task.inputs[2]);
    method->merge(b.task);
    expect_values(a, b.out);
  }
}

TEST(Slerp, AtZeroIsTheBaseAndAtOneTheModelToTheBit) {
  for (const double distance : {1.0, 0.001}) {  // an arc, a line
    Fixture f(kSlerp);
    set_models(f, {sum_of(f.base, random_values("far", distance))});
    f.task.arguments.set(kSlerpT, 0.0);
    slerp_merge(f.task);
    EXPECT_EQ(f.out, f.base);
    f.task.arguments.set(kSlerpT, 1.0);
    slerp_merge(f.task);
    EXPECT_EQ(f.out, f.models[0]);
  }
}

TEST(Nearswap, OfZeroIsTheBaseAndOfMuchTheModel) {
  Fixture f(kNearswap);
  f.task.arguments.set(kNearswapT, 0.0);
  nearswap_merge(f.task);
  EXPECT_EQ(f.out, f.base);
  f.task.arguments.set(kNearswapT, 100.0);
  nearswap_merge(f.task);
  EXPECT_EQ(f.out, f.models[0]);
}

TEST(Nuslerp, OfOpposedModelsIsAStraightLine) {
  Fixture f(kNuslerp, {0.75, 0.25, 0.0});
  f.task.has_base = false;
  f.shape_as_rows(64);
  f.task.arguments.set(kNuslerpFlatten, 0.0);
  set_models(f, {f.models[0], times(f.models[0], -0.7F)});
  nuslerp_merge(f.task);
  expect_values(f, times(f.models[0], 0.75F - 0.25F * 0.7F));
}

/// The elements as bfloat16, at an address that is no multiple of 2.
std::vector<std::byte> unaligned_bfloat16(const Values& x) {
  std::vector<std::byte> out(1 + 2 * x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x[i]) >> 16);
    std::memcpy(out.data() + 1 + 2 * i, &bits, sizeof(bits));
  }
  return out;
}

TEST(Nuslerp, ColumnsOfRowsLongerThanATile) {
  constexpr std::int64_t kLength = kTileElements + 809;
  Fixture f(kNuslerp, {0.5, 0.5, 0.0});
  f.shape_as_rows(kLength);
  f.task.arguments.set(kNuslerpFlatten, 0.0);
  f.task.arguments.set(kNuslerpRowWise, 1.0);
  std::vector<std::vector<std::byte>> files;
  for (Values* values : {&f.base, &f.models[0], &f.models[1]}) {
    for (float& value : *values) {  // what bfloat16 holds
      value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xffff0000U);
    }
    files.push_back(unaligned_bfloat16(*values));
  }
  nuslerp_merge(f.task);
  const Values expected = f.out;
  TileSource* const sources[] = {&f.task.base, &f.task.inputs[0].weights,
                                 &f.task.inputs[1].weights};
  for (std::size_t i = 0; i < files.size(); ++i) {
    *sources[i] = {.bytes = std::span<const std::byte>(files[i]).subspan(1),
                   .dtype = at::kBFloat16,
                   .label = "x"};
  }
  nuslerp_merge(f.task);
  EXPECT_EQ(f.out, expected);
}

TEST(Multislerp, OfATensorThatNoModelChangedAtEpsZero) {
  Fixture f(kMultislerp);
  set_models(f, {f.base, f.base, f.base});
  f.task.arguments.set(kMultislerpEps, 0.0);
  multislerp_merge(f.task);
  EXPECT_EQ(f.out, f.base);
}

TEST(Multislerp, DirectionsThatCancelButForRoundingDoCancel) {
  Fixture f(kMultislerp, {1.0, 1.0, 0.0});
  f.task.has_base = false;
  set_models(f, {f.models[0], times(f.models[0], -0.7F)});
  multislerp_merge(f.task);
  expect_values(f, times(f.models[0], 0.15F));
  Fixture three(kMultislerp, {1.0, 0.5, 0.5});
  three.task.has_base = false;
  set_models(three,
             {three.models[0], times(three.models[0], -0.7F), times(three.models[0], -0.3F)});
  EXPECT_ERROR(multislerp_merge(three.task), kInvalidArgument, "tensor 't'", "cancel");
}

TEST(Karcher, GoesNowhereFromOppositesAndStaysOnTheSphere) {
  Fixture f(kKarcher);
  set_models(f, {f.models[0], times(f.models[0], -0.7F)});
  karcher_merge(f.task);
  expect_values(f, times(f.models[0], 0.85F));  // the first one's direction, the mean norm
}

TEST(Karcher, OfEqualModelsAtToleranceZero) {
  Fixture f(kKarcher);
  set_models(f, {f.models[0], f.models[0], f.models[0]});
  f.task.arguments.set(kKarcherTolerance, 0.0);
  karcher_merge(f.task);
  expect_values(f, f.models[0]);
}

TEST(Karcher, AModelOfZerosHasNoDirectionButANorm) {
  Fixture f(kKarcher);
  set_models(f, {f.models[0], Values(f.base.size(), 0.0F)});
  karcher_merge(f.task);
  expect_values(f, times(f.models[0], 0.5F));
}

}  // namespace
}  // namespace growmerge::merging
