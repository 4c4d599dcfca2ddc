#include "distributed/sharding/replicated_store.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/error.h"
#include "distributed/sharding/whole_model.h"
#include "tests/distributed/mpi/world.h"
#include "tests/distributed/synthetic.h"

namespace growmerge {
namespace {

using distributed::ReplicatedStore;
using distributed::WholeModel;
using testing::tiny_model;
using testing::world;

ReplicatedStore make(const ParamMap& params) {
  return {params, {.num_layers = 2, .bucket_bytes = 1000}, world()};
}

class MpiReplicatedStore : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_GT(world().size(), 1) << "start it with mpirun -n 2"; }
};

TEST_F(MpiReplicatedStore, ValuesOfRankZeroWin) {
  const Model mine = tiny_model();
  mine.params.at("model.norm.weight").fill_(1.0 + world().rank());
  const ReplicatedStore store = make(mine.params);
  EXPECT_TRUE(store.owned().params.at("model.norm.weight").eq(1.0).all().item<bool>());
}

TEST_F(MpiReplicatedStore, GradientsAreSumsOverRanksWhateverWasReported) {
  ReplicatedStore store = make(tiny_model().params);
  const int size = world().size();
  for (int step = 1; step <= 2; ++step) {
    store.zero_gradients();
    std::vector<std::string> names;
    {
      const WholeModel whole(store);
      for (const auto& [name, grad] : whole.gradients()) {
        grad.add_(step * (1.0 + world().rank()));
        names.push_back(name);
      }
    }
    if (world().rank() == 0) {  // another order than the others', and none where a rank has no rows
      std::reverse(names.begin(), names.end());
    } else if (world().rank() == 1) {
      names.clear();
    }
    for (const std::string& name : names) {
      store.ready(name);
    }
    store.finish_gradients();
    for (const auto& [name, grad] : store.owned().grads) {
      EXPECT_TRUE(grad.eq(step * size * (size + 1) / 2.0).all().item<bool>()) << name;
    }
  }
}

TEST_F(MpiReplicatedStore, WhatRankZeroFillsReachesAll) {
  ReplicatedStore store = make(tiny_model().params);
  store.fill_logical(store.owned().params, [](const std::string&, const at::Tensor& into) {
    ASSERT_TRUE(world().is_root());
    into.fill_(5.0);
  });
  ParamMap seen;
  store.visit_logical(store.owned().params,
                      world().is_root() ? LogicalVisitor() : distributed::collect_into(seen));
  EXPECT_EQ(seen.empty(), world().is_root());
  for (const auto& [name, tensor] : seen) {
    EXPECT_TRUE(tensor.eq(5.0).all().item<bool>()) << name;
  }
}

TEST_F(MpiReplicatedStore, AVisitorThatFailsOnOneRankFailsOnAll) {
  ReplicatedStore store = make(tiny_model().params);
  const auto refuse = [](const std::string& name, const at::Tensor&) {
    if (world().rank() == world().size() - 1) {
      fail(ErrorCode::kIo, "no room for ", name);
    }
  };
  try {
    store.visit_logical(store.owned().params, refuse);
    ADD_FAILURE() << "nothing thrown on rank " << world().rank();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kIo);
    EXPECT_NE(std::string(e.what()).find("no room for model.embed_tokens.weight"),
              std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace growmerge
