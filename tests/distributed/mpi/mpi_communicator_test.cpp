#include "distributed/mpi_communicator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/base/error.h"
#include "tests/distributed/mpi/world.h"

namespace growmerge {
namespace {

using testing::world;

class MpiCommunicator : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_GT(world().size(), 1) << "start it with mpirun -n 2"; }
  int rank() { return world().rank(); }
  int size() { return world().size(); }
};

TEST_F(MpiCommunicator, ReductionsEqualTheFormula) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kLong}) {
    // Longer than one piece (4 MB), and not a multiple of it.
    at::Tensor sum = at::arange(2'500'001, at::TensorOptions().dtype(dtype)) + rank();
    at::Tensor max = at::full({3}, rank(), dtype);
    at::Tensor min = at::full({3}, 10 - rank(), dtype);
    auto work = world().all_reduce_async(sum, ReduceOp::kSum);
    world().all_reduce(max, ReduceOp::kMax);
    world().all_reduce(min, ReduceOp::kMin);
    work->wait();
    const at::Tensor expected = at::arange(2'500'001, at::TensorOptions().dtype(dtype)) * size() +
                                size() * (size() - 1) / 2;
    EXPECT_TRUE(sum.equal(expected)) << at::toString(dtype);
    EXPECT_EQ(max[2].item<double>(), size() - 1);
    EXPECT_EQ(min[2].item<double>(), 10 - (size() - 1));
  }
  EXPECT_EQ(world().all_reduce_scalar(rank() + 0.5, ReduceOp::kSum),
            size() * (size() - 1) / 2.0 + 0.5 * size());
}

TEST_F(MpiCommunicator, ManyOperationsInFlightKeepApart) {
  std::vector<at::Tensor> tensors;
  std::vector<std::unique_ptr<Work>> works;
  for (int i = 0; i < 8; ++i) {
    tensors.push_back(at::full({100'000 + i}, i + rank(), at::kFloat));
    works.push_back(world().all_reduce_async(tensors.back(), ReduceOp::kSum));
    world().progress();
  }
  for (int i = 7; i >= 0; --i) {
    works[static_cast<std::size_t>(i)]->wait();
  }
  for (int i = 0; i < 8; ++i) {
    const at::Tensor& tensor = tensors[static_cast<std::size_t>(i)];
    EXPECT_TRUE(tensor.eq(i * size() + size() * (size() - 1) / 2).all().item<bool>());
  }
}

TEST_F(MpiCommunicator, ScatterAndGatherKeepRankOrder) {
  for (const std::int64_t part : {5L, 1'100'001L}) {
    const at::Tensor input = at::arange(part * size(), at::kDouble) * (rank() + 1);
    at::Tensor mine = at::empty({part}, at::kDouble);
    world().reduce_scatter(input, mine, ReduceOp::kSum);
    const double factor = size() * (size() + 1) / 2.0;
    const at::Tensor expected =
        at::arange(part * rank(), part * (rank() + 1), at::kDouble) * factor;
    EXPECT_TRUE(mine.equal(expected));
    at::Tensor all = at::empty({part * size()}, at::kDouble);
    world().all_gather(mine, all);
    EXPECT_TRUE(all.equal(at::arange(part * size(), at::kDouble) * factor));
  }
}

TEST_F(MpiCommunicator, BroadcastMovesAnyDtype) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kInt, at::kByte}) {
    at::Tensor tensor = at::full({7}, rank(), dtype);
    world().broadcast(tensor, size() - 1);
    EXPECT_TRUE(tensor.eq(size() - 1).all().item<bool>());
  }
}

TEST_F(MpiCommunicator, BytesReachEverybody) {
  std::string text = rank() == 1 ? std::string("one\0two", 7) : std::string();
  world().broadcast_bytes(text, 1);
  EXPECT_EQ(text, std::string("one\0two", 7));
  const std::string mine(static_cast<std::size_t>(rank()), 'x');
  const auto all = world().all_gather_bytes(mine);
  ASSERT_EQ(static_cast<int>(all.size()), size());
  for (int i = 0; i < size(); ++i) {
    EXPECT_EQ(all[static_cast<std::size_t>(i)], std::string(static_cast<std::size_t>(i), 'x'));
  }
}

TEST_F(MpiCommunicator, SplitMakesIndependentWorlds) {
  const auto part = world().split(rank() % 2, -rank());
  const int expected = rank() % 2 == 0 ? (size() + 1) / 2 : size() / 2;
  EXPECT_EQ(part->size(), expected);
  EXPECT_EQ(part->rank(), part->size() - 1 - rank() / 2);  // ordered by key, so reversed
  EXPECT_EQ(part->all_reduce_scalar(1.0, ReduceOp::kSum), expected);
  EXPECT_EQ(world().local_size(), size());  // the tests run on one machine
  EXPECT_EQ(world().local_rank(), rank());
}

TEST_F(MpiCommunicator, WrongTensorsAreRefused) {
  const auto code_of = [](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& e) {
      return std::string(error_code_name(e.code())) + ": " + e.what();
    }
    return std::string("nothing thrown");
  };
  EXPECT_NE(code_of([] {
              world().all_reduce(at::zeros({2}, at::kBFloat16), ReduceOp::kSum);
            }).find("convert to float32 first"),
            std::string::npos);
  EXPECT_NE(code_of([] {
              world().all_reduce(at::zeros({2, 3}).transpose(0, 1), ReduceOp::kSum);
            }).find("contiguous"),
            std::string::npos);
  EXPECT_NE(code_of([] { world().all_gather(at::zeros({2}), at::zeros({3})); }).find("expected"),
            std::string::npos);
  world().barrier();
}

TEST_F(MpiCommunicator, RanksAgreeOnAFailure) {
  EXPECT_FALSE(world().all_ok(rank() != 1));
  EXPECT_TRUE(world().all_ok(true));
  try {
    run_agreed(world(), [] { GM_CHECK(world().rank() != 1, kIo, "disk full"); });
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kIo);
    EXPECT_STREQ(e.what(), "rank 1: disk full");
  }
}

TEST_F(MpiCommunicator, TimeOutNamesTheSilentRank) {
  // A communicator of its own is left broken; the world goes on.
  const auto part = world().split(0, rank());
  part->set_timeout(1.5);
  const int last = size() - 1;
  if (rank() == last) {
    usleep(4'500'000);
  } else {
    try {
      part->barrier();
      ADD_FAILURE() << "the barrier ended without the last rank";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kDistributed);
      EXPECT_NE(std::string(e.what()).find(concat("no sign of rank ", last, ":")),
                std::string::npos)
          << e.what();
    }
  }
  world().barrier();
}

}  // namespace
}  // namespace growmerge
