#include "distributed/gradient_buckets.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "core/base/error.h"

namespace growmerge::distributed {
namespace {

/// Notes the sizes of what is reduced, in order.
class Recorder final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 2; }
  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp) override {
    struct Done final : Work {
      void wait() override {}
    };
    started.push_back(tensor.numel());
    tensor.mul_(2);
    return std::make_unique<Done>();
  }
  void reduce_scatter(const at::Tensor&, at::Tensor, ReduceOp) override {}
  void all_gather(const at::Tensor&, at::Tensor) override {}
  void broadcast(at::Tensor, int) override {}
  void barrier() override {}
  std::unique_ptr<Communicator> split(int, int) override { return nullptr; }
  void broadcast_bytes(std::string&, int) override {}
  std::vector<std::string> all_gather_bytes(const std::string& b) override { return {b, b}; }
  std::vector<std::int64_t> started;
};

ParamMap three() {
  ParamMap params;
  params.set("a", at::zeros({2, 2}));
  params.set("b", at::zeros({3}));
  params.set("c", at::zeros({1, 5}));
  return params;
}

TEST(GradientBuckets, StartInOrderWhateverTheOrderOfReadiness) {
  GradientBuckets buckets(three(), at::kFloat, 8);
  ASSERT_EQ(buckets.num_buckets(), 3U);
  Recorder comm;
  buckets.ready("a", comm);
  EXPECT_TRUE(comm.started.empty()) << "the last tensor's bucket goes first";
  buckets.ready("c", comm);
  EXPECT_EQ(comm.started, (std::vector<std::int64_t>{5}));
  buckets.ready("b", comm);
  EXPECT_EQ(comm.started, (std::vector<std::int64_t>{5, 3, 4}));
  buckets.finish(comm);
  EXPECT_EQ(comm.started.size(), 3U);
}

TEST(GradientBuckets, EveryTensorIsReducedOnceARound) {
  GradientBuckets buckets(three(), at::kDouble, 40);
  ASSERT_EQ(buckets.num_buckets(), 2U);  // c alone reaches 40 bytes; b and a together
  Recorder comm;
  for (int round = 1; round <= 2; ++round) {
    buckets.zero();
    for (const auto& [name, grad] : buckets.grads()) {
      EXPECT_EQ(grad.scalar_type(), at::kDouble);
      grad.fill_(1.0);
    }
    if (round == 1) {
      buckets.ready("c", comm);  // the others were never reported: a rank without rows
    }
    buckets.finish(comm);
    EXPECT_EQ(comm.started.size(), static_cast<std::size_t>(2 * round));
    for (const auto& [name, grad] : buckets.grads()) {
      EXPECT_TRUE(grad.eq(2.0).all().item<bool>()) << name;
    }
  }
  EXPECT_EQ(buckets.grads().names(), three().names());
  EXPECT_EQ(buckets.grads().at("a").sizes(), at::IntArrayRef({2, 2}));
}

TEST(GradientBuckets, ATensorReportedTwiceIsABug) {
  GradientBuckets buckets(three(), at::kFloat, 8);
  Recorder comm;
  buckets.ready("a", comm);
  EXPECT_THROW(buckets.ready("a", comm), Error);
}

}  // namespace
}  // namespace growmerge::distributed
