#include "distributed/device.h"

#include <gtest/gtest.h>

#include "core/model/flops.h"
#include "distributed/train.h"
#include "tests/distributed/synthetic.h"
#include "tests/support/expect_error.h"

namespace growmerge::distributed {
namespace {

/// One process that says it is one of several on its machine, and agrees with them.
class OneOfSeveral final : public Communicator {
 public:
  explicit OneOfSeveral(int size) : size_(size), self_(make_single_process_communicator()) {}
  int rank() const override { return 0; }
  int size() const override { return size_; }
  int local_rank() const override { return 0; }
  int local_size() const override { return size_; }
  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override {
    return self_->all_reduce_async(std::move(tensor), op);
  }
  void reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp op) override {
    self_->reduce_scatter(input, std::move(output), op);
  }
  void all_gather(const at::Tensor& input, at::Tensor output) override {
    self_->all_gather(input, std::move(output));
  }
  void broadcast(at::Tensor, int) override {}
  void barrier() override {}
  std::unique_ptr<Communicator> split(int, int) override {
    return make_single_process_communicator();
  }
  void broadcast_bytes(std::string&, int) override {}
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override {
    return self_->all_gather_bytes(bytes);
  }

 private:
  int size_;
  std::unique_ptr<Communicator> self_;
};

TEST(Device, WithoutABackEndAutoIsTheCpuAndCudaNamesWhatIsMissing) {
  const auto comm = make_single_process_communicator();
  EXPECT_TRUE(place_rank("auto", nullptr, *comm).device.is_cpu());
  EXPECT_TRUE(place_rank("cpu", nullptr, *comm).device.is_cpu());
  if (open_cuda_backend("/no/such/libgrowmerge_cuda.so") != nullptr) {
    FAIL() << "opened a library that is not there";
  }
  EXPECT_ERROR(place_rank("cuda", nullptr, *comm), kInvalidArgument,
               "device: cuda is asked for, but", why_no_cuda(), "set device: cpu");
  EXPECT_TRUE(why_no_cuda().find("libcuda.so.1") != std::string::npos ||
              why_no_cuda().find("/no/such/libgrowmerge_cuda.so") != std::string::npos)
      << why_no_cuda();
}

TEST(Device, ARankTakesADeviceOfItsOwn) {
  CudaBackend backend;
  backend.num_devices = 2;
  backend.device_names = {"A", "B"};
  backend.description = "CUDA 13.0, built without NCCL";
  OneOfSeveral three(3);
  for (const char* wanted : {"auto", "cuda"}) {
    EXPECT_ERROR(place_rank(wanted, &backend, three), kInvalidArgument,
                 "3 ranks on this machine, which shows 2 CUDA device(s)",
                 "start at most 2 rank(s)");
  }
  EXPECT_TRUE(place_rank("cpu", &backend, three).device.is_cpu());
  OneOfSeveral two(2);
  EXPECT_ERROR(place_rank("cuda", &backend, two), kUnsupported, "built without NCCL",
               "cannot join several ranks");
}

TEST(Device, OnTheCpuTheRanksCommunicateAsTheyAre) {
  OneOfSeveral two(2);
  EXPECT_EQ(make_device_communicator({}, nullptr, two), nullptr);
}

TEST(Device, PeaksAreTheDataSheets) {
  EXPECT_EQ(peak_bfloat16_tflops("NVIDIA A100-SXM4-80GB"), 312.0);
  EXPECT_EQ(peak_bfloat16_tflops("NVIDIA H100 80GB HBM3"), 989.0);
  EXPECT_EQ(peak_bfloat16_tflops("NVIDIA H100 PCIe"), 756.0);
  EXPECT_EQ(peak_bfloat16_tflops("NVIDIA H200"), 989.0);
  EXPECT_EQ(peak_bfloat16_tflops("NVIDIA B200"), 2250.0);
  EXPECT_EQ(peak_bfloat16_tflops("NVIDIA GB200"), 2500.0);
  EXPECT_EQ(peak_bfloat16_tflops("NVIDIA GeForce RTX 4090"), 0.0) << "nothing is guessed";
  EXPECT_EQ(peak_bfloat16_tflops("CPU"), 0.0);
}

TEST(Device, MemoryIsToldApart) {
  TrainConfig config;
  config.batch_rows = 8;
  config.microbatch_rows = 2;
  const ModelConfig model = testing::tiny_config();
  const TrainingMemory cpu = training_memory(config, model, 32, 1, at::kCPU);
  EXPECT_EQ(cpu.device, 0);
  const TrainingMemory cuda = training_memory(config, model, 32, 1, at::kCUDA);
  const std::int64_t masters = num_parameters(model) * 16;
  EXPECT_GT(cuda.device, masters);
  EXPECT_GT(cuda.host, num_parameters(model) * 4);
  config.microbatch_rows = 4;
  EXPECT_GT(training_memory(config, model, 32, 1, at::kCUDA).device, cuda.device)
      << "activations lie on the device";
  EXPECT_EQ(training_memory(config, model, 32, 1, at::kCUDA).host, cuda.host);
}

}  // namespace
}  // namespace growmerge::distributed
