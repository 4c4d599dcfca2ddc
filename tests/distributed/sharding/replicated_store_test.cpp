#include "distributed/sharding/replicated_store.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "distributed/sharding/units.h"
#include "distributed/sharding/whole_model.h"
#include "tests/distributed/synthetic.h"
#include "tests/support/expect_error.h"

namespace growmerge::distributed {
namespace {

using testing::tiny_model;

class ReplicatedStoreTest : public ::testing::Test {
 protected:
  ReplicatedStore make(at::ScalarType compute = at::kFloat) {
    return {model_.params, {.num_layers = 2, .compute = compute, .bucket_bytes = 1000}, *comm_};
  }
  std::unique_ptr<Communicator> comm_ = make_single_process_communicator();
  Model model_ = tiny_model();
};

TEST(Units, AreEmbeddingLayersAndHead) {
  EXPECT_EQ(unit_of("model.embed_tokens.weight", 12), 0U);
  EXPECT_EQ(unit_of("model.layers.0.input_layernorm.weight", 12), 1U);
  EXPECT_EQ(unit_of("model.layers.11.mlp.up_proj.weight", 12), 12U);
  EXPECT_EQ(unit_of("model.norm.weight", 12), 13U);
  EXPECT_EQ(unit_of("lm_head.weight", 12), 13U);
  EXPECT_THROW(static_cast<void>(unit_of("model.layers.12.mlp.up_proj.weight", 12)), Error);
}

TEST_F(ReplicatedStoreTest, UnitsTogetherAreTheModelInItsOrder) {
  ReplicatedStore store = make();
  ASSERT_EQ(store.num_units(), 4U);
  EXPECT_EQ(store.acquire(0).names(), (std::vector<std::string>{"model.embed_tokens.weight"}));
  EXPECT_EQ(store.acquire(3).names(), (std::vector<std::string>{"model.norm.weight"}));
  store.release(0);
  store.release(3);
  const WholeModel whole(store);
  EXPECT_EQ(whole.params().names(), model_.params.names());
  EXPECT_EQ(whole.gradients().names(), model_.params.names());
  for (const auto& [name, tensor] : model_.params) {
    EXPECT_TRUE(whole.params().at(name).equal(tensor)) << name;
    EXPECT_EQ(whole.gradients().at(name).sizes(), tensor.sizes()) << name;
  }
}

TEST_F(ReplicatedStoreTest, UnitsAreAcquiredOnceAndReleasedOnce) {
  ReplicatedStore store = make();
  EXPECT_THROW(store.release(1), Error);
  EXPECT_THROW(static_cast<void>(store.gradients(1)), Error);
  {
    const WholeModel whole(store);
    EXPECT_THROW(static_cast<void>(store.acquire(1)), Error);
  }
  EXPECT_EQ(store.acquire(1).size(), 9U) << "released by what held the whole model";
}

TEST_F(ReplicatedStoreTest, CallersTensorsStayAsTheyAre) {
  ReplicatedStore store = make();
  const Model before = tiny_model();
  store.owned().params.at("model.norm.weight").fill_(7.0);
  EXPECT_TRUE(model_.params.at("model.norm.weight").equal(before.params.at("model.norm.weight")));
}

TEST_F(ReplicatedStoreTest, PassesReadRoundedCopies) {
  ReplicatedStore store = make(at::kBFloat16);
  EXPECT_EQ(store.owned().params.begin()->second.scalar_type(), at::kFloat);
  const WholeModel whole(store);
  for (const auto& [name, tensor] : whole.params()) {
    EXPECT_EQ(tensor.scalar_type(), at::kBFloat16);
    EXPECT_EQ(tensor.data_ptr(), store.owned().compute.at(name).data_ptr())
        << "an update writes there";
  }
  EXPECT_EQ(whole.gradients().begin()->second.scalar_type(), at::kFloat);
  EXPECT_TRUE(make().owned().compute.empty());
}

TEST_F(ReplicatedStoreTest, GradientsOfAPassAreThoseThatAreOwned) {
  ReplicatedStore store = make();
  for (int step = 0; step < 2; ++step) {
    store.zero_gradients();
    {
      const WholeModel whole(store);
      for (const auto& [name, grad] : whole.gradients()) {
        EXPECT_TRUE(grad.eq(0.0).all().item<bool>()) << name;
        grad.add_(2.0);
      }
    }
    store.ready("model.norm.weight");
    EXPECT_THROW(store.ready("model.norm.weight"), Error);
    store.finish_gradients();
    for (const auto& [name, grad] : store.owned().grads) {
      EXPECT_TRUE(grad.eq(2.0).all().item<bool>()) << name;
    }
  }
}

TEST_F(ReplicatedStoreTest, LogicalTensorsComeInOrderAndGoBack) {
  ReplicatedStore store = make();
  ParamMap seen;
  store.visit_logical(store.owned().params, collect_into(seen, "m."));
  ASSERT_EQ(seen.size(), model_.params.size());
  EXPECT_EQ(seen.begin()->first, "m.model.embed_tokens.weight");
  store.fill_logical(store.owned().params,
                     [](const std::string&, const at::Tensor& into) { into.fill_(3.0); });
  for (const auto& [name, tensor] : store.owned().params) {
    EXPECT_TRUE(tensor.eq(3.0).all().item<bool>()) << name;
  }
  const auto refuse = [](const std::string& name, const at::Tensor&) {
    fail(ErrorCode::kIo, "no room for ", name);
  };
  EXPECT_ERROR(store.visit_logical(store.owned().params, refuse), kIo,
               "no room for model.embed_tokens.weight");
}

}  // namespace
}  // namespace growmerge::distributed
