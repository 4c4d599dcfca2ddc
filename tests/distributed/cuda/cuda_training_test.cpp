// Training on a GPU against training on the CPU. Every test needs a device and names it where there
// is none.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/hashes.h"
#include "core/transformer/backend.h"
#include "core/transformer/transformer.h"
#include "distributed/device.h"
#include "distributed/held_out.h"
#include "distributed/train.h"
#include "tests/core/tiny_model.h"
#include "tests/distributed/synthetic.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::distributed {
namespace {

namespace fs = std::filesystem;
using testing::SyntheticSource;

class CudaTraining : public ::testing::Test {
 protected:
  void SetUp() override {
    configure_log({.level = LogLevel::kError});
    backend_ = open_cuda_backend(GROWMERGE_CUDA_LIBRARY);
    if (backend_ == nullptr) {
      GTEST_SKIP() << "needs a CUDA device: " << why_no_cuda();
    }
    place_ = place_rank("cuda", backend_, *comm_);
  }
  const CudaBackend* backend_ = nullptr;
  std::unique_ptr<Communicator> comm_ = make_single_process_communicator();
  Placement place_;
};

ParamMap on(const ParamMap& params, at::Device device, at::ScalarType dtype) {
  ParamMap out;
  for (const auto& [name, tensor] : params) {
    out.set(name, tensor.to(device, dtype));
  }
  return out;
}

/// |a - b| / |b| over all elements.
double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.cpu().to(at::kDouble);
  const at::Tensor y = b.cpu().to(at::kDouble);
  return ((x - y).norm() / (y.norm() + 1e-30)).item<double>();
}

ModelConfig small_model(bool tied, std::int64_t kv_heads, double head_factor) {
  ModelConfig c = testing::tiny_config(kv_heads, tied, Activation::kSilu);
  c.vocab_size = 203;
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.num_heads = 4;
  c.head_dim = 16;
  c.lm_head_normalization_factor = head_factor;
  return c;
}

struct Gradients {
  LossResult loss;
  ParamMap grads;
};

Gradients gradients_on(at::Device device, at::ScalarType dtype, const ModelConfig& config,
                       const Batch& batch, Workspace* workspace = nullptr) {
  const ParamMap params = on(testing::random_params(config, 0.1, 1), device, dtype);
  Gradients out;
  out.grads = params.zeros_like(at::kFloat);
  out.loss = loss_and_gradients(config, params, batch, 0.01, out.grads, {}, workspace);
  return out;
}

void expect_gradients_like_the_cpus(at::Device device, at::ScalarType dtype, double tolerance) {
  for (const bool tied : {false, true}) {
    const ModelConfig config = small_model(tied, tied ? 2 : 4, tied ? 2.0 : 1.0);
    const Batch batch = testing::packed_batch(3, 48, {48, 1, 30, 17, 40, 8}, config.vocab_size, 3);
    const Gradients cpu = gradients_on(at::kCPU, dtype, config, batch);
    // In one chunk of the head, and in chunks that do not divide the batch.
    for (const std::int64_t rows : {0, 50}) {
      Workspace workspace(rows);
      const Gradients cuda = gradients_on(device, dtype, config, batch, &workspace);
      EXPECT_EQ(cuda.loss.num_targets, cpu.loss.num_targets);
      EXPECT_EQ(cuda.loss.row_num_targets, cpu.loss.row_num_targets);
      EXPECT_NEAR(cuda.loss.loss_sum, cpu.loss.loss_sum, tolerance * cpu.loss.loss_sum);
      for (std::size_t r = 0; r < 3; ++r) {
        EXPECT_NEAR(cuda.loss.row_loss_sum[r], cpu.loss.row_loss_sum[r],
                    tolerance * cpu.loss.row_loss_sum[r]);
      }
      for (const auto& [name, grad] : cpu.grads) {
        EXPECT_LE(relative_error(cuda.grads.at(name), grad), tolerance) << name;
      }
      const ParamMap params = on(testing::random_params(config, 0.1, 1), device, dtype);
      EXPECT_NEAR(forward_loss(config, params, batch, &workspace).loss_sum, cpu.loss.loss_sum,
                  tolerance * cpu.loss.loss_sum);
    }
  }
}

TEST_F(CudaTraining, GradientsEqualTheCpusInFloat) {
  expect_gradients_like_the_cpus(place_.device, at::kFloat, 1e-5);
}

TEST_F(CudaTraining, GradientsAreTheCpusInBfloat16) {
  // Products are rounded at different places: a weight gradient on the CPU once more.
  expect_gradients_like_the_cpus(place_.device, at::kBFloat16, 4e-2);
}

TEST_F(CudaTraining, ARecordedPassGivesTheSameBits) {
  const ModelConfig config = small_model(true, 2, 1.0);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const ParamMap params = on(testing::random_params(config, 0.1, 1), place_.device, dtype);
    std::vector<std::vector<double>> losses;
    std::vector<ParamMap> grads;
    for (const bool records : {false, true}) {
      Workspace workspace;
      workspace.record_graphs(records);
      grads.push_back(params.zeros_like(at::kFloat));
      losses.emplace_back();
      // Other documents and tokens each time, more of them than before, and a smaller batch
      // between.
      const std::vector<std::vector<std::int32_t>> documents = {
          {48, 48, 48}, {48, 20, 28, 48}, {9, 39, 20, 28, 1, 47}, {48, 48, 48}, {30, 18, 48, 48}};
      for (std::size_t i = 0; i < documents.size(); ++i) {
        const Batch batch = testing::packed_batch(3, 48, documents[i], config.vocab_size, 10 + i);
        losses.back().push_back(
            loss_and_gradients(config, params, batch, 1.0, grads.back(), {}, &workspace).loss_sum);
        const Batch part = testing::packed_batch(1, 48, {40, 8}, config.vocab_size, 20 + i);
        losses.back().push_back(
            loss_and_gradients(config, params, part, 1.0, grads.back(), {}, &workspace).loss_sum);
      }
    }
    EXPECT_EQ(losses[0], losses[1]) << c10::toString(dtype);
    for (const auto& [name, grad] : grads[0]) {
      EXPECT_TRUE(grads[1].at(name).equal(grad)) << name << " " << c10::toString(dtype);
    }
  }
}

TEST_F(CudaTraining, WhatRunsOnTheCpuAloneSaysSo) {
  const ModelConfig config = small_model(true, 2, 1.0);
  const ParamMap params = on(testing::random_params(config, 0.1, 1), place_.device, at::kFloat);
  EXPECT_ERROR(Decoder(config, params, 8), kUnsupported, "decoder runs on CPU tensors", "cuda:0");
}

struct Setting {
  TrainConfig config;
  std::vector<StepObserver*> observers;
  at::Device device = at::Device(at::kCPU);
};

TrainConfig small_config() {
  TrainConfig config;
  config.budget.steps = 20;
  config.batch_rows = 6;
  config.microbatch_rows = 2;
  config.schedule.lr = 3e-3;
  config.schedule.warmup_steps = 2;
  return config;
}

Model start_model() {
  ModelConfig config = testing::tiny_config();
  config.head_dim = 16;
  return init_model(config, 5);
}

TrainResult run(const fs::path& dir, const Setting& setting, Communicator& comm) {
  SyntheticSource source({.seed = 3});
  SyntheticSource held_out({.seed = 4, .rows = 5});
  return train(setting.config, start_model(), source, &held_out, comm, setting.observers,
               {.work_dir = dir, .start_identity = "tiny", .device = setting.device});
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected,
                 double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], expected[i], tolerance * expected[i]) << "step " << i + 1;
  }
}

TEST_F(CudaTraining, TwentyStepsFollowTheCpus) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    const testing::TemporaryDirectory on_cpu;
    const testing::TemporaryDirectory on_cuda;
    Setting setting{.config = small_config(), .observers = {}};
    setting.config.dtype = dtype;
    setting.config.eval_every = 7;
    const TrainResult cpu = run(on_cpu.path(), setting, *comm_);
    setting.device = place_.device;
    const TrainResult cuda = run(on_cuda.path(), setting, *comm_);
    const double tolerance = std::string(dtype) == "float32" ? 1e-4 : 2e-2;
    expect_near(cuda.losses, cpu.losses, tolerance);
    for (const auto& [name, loss] : cpu.held_out) {
      EXPECT_NEAR(cuda.held_out.at(name), loss, tolerance * loss) << name;
    }
    EXPECT_LT(cuda.losses.back(), cuda.losses.front());
  }
}

std::string trained_hashes(const fs::path& dir) {
  return hash_file(dir / "model.safetensors") + hash_file(dir / "trainer/moments.safetensors");
}

TEST_F(CudaTraining, GraphsAndLateNumbersChangeNoBit) {
  std::vector<std::vector<double>> losses;
  std::vector<std::string> hashes;
  for (const auto& [graphs, late] :
       {std::pair{false, 0}, std::pair{false, 1}, std::pair{true, 1}, std::pair{true, 3}}) {
    const testing::TemporaryDirectory dir;
    TrainConfig config = small_config();
    config.dtype = "bfloat16";
    config.cuda_graphs = graphs;
    SyntheticSource source({.seed = 3});
    losses.push_back(train(config, start_model(), source, nullptr, *comm_, {},
                           {.work_dir = dir.path(),
                            .device = place_.device,
                            .steps_read_late = static_cast<std::size_t>(late)})
                         .losses);
    hashes.push_back(trained_hashes(dir.path()));
  }
  for (std::size_t i = 1; i < losses.size(); ++i) {
    EXPECT_EQ(losses[i], losses[0]) << i;
    EXPECT_EQ(hashes[i], hashes[0]) << i;
  }
}

/// Throws out of the loop after a step, and sees parameters where they are.
class Crash final : public StepObserver {
 public:
  Crash(std::int64_t step, bool on_cuda) : step_(step), on_cuda_(on_cuda) {}
  bool wants(std::int64_t step) const override { return step == step_; }
  void after_step(const StepInfo& info, const ParamMap& params,
                  std::map<std::string, double>&) override {
    EXPECT_EQ(params.begin()->second.is_cuda(), on_cuda_);
    GM_CHECK(info.step != step_, kInternal, "crash");
  }

 private:
  std::int64_t step_;
  bool on_cuda_;
};

TEST_F(CudaTraining, ACheckpointGoesOnOnTheOtherDevice) {
  const testing::TemporaryDirectory whole;
  Setting cpu{.config = small_config(), .observers = {}};
  cpu.config.checkpoint_every = 5;
  Setting cuda = cpu;
  cuda.device = place_.device;
  const TrainResult expected = run(whole.path(), cpu, *comm_);
  for (const bool cuda_first : {true, false}) {
    const testing::TemporaryDirectory parts;
    Crash crash(12, cuda_first);
    Setting first = cuda_first ? cuda : cpu;
    first.observers = {&crash};
    testing::error_of(ErrorCode::kInternal, [&] { return run(parts.path(), first, *comm_); });
    const TrainResult rest = run(parts.path(), cuda_first ? cpu : cuda, *comm_);
    EXPECT_EQ(rest.resumed_from, 10);
    expect_near(rest.losses, {expected.losses.begin() + 10, expected.losses.end()}, 1e-4);
  }
}

TEST_F(CudaTraining, ARunThatIsResumedHasTheSameBits) {
  const testing::TemporaryDirectory whole;
  const testing::TemporaryDirectory parts;
  Setting setting{.config = small_config(), .observers = {}, .device = place_.device};
  setting.config.dtype = "bfloat16";
  setting.config.checkpoint_every = 5;
  (void)run(whole.path(), setting, *comm_);
  Crash crash(12, true);
  setting.observers = {&crash};
  testing::error_of(ErrorCode::kInternal, [&] { return run(parts.path(), setting, *comm_); });
  setting.observers = {};
  EXPECT_EQ(run(parts.path(), setting, *comm_).resumed_from, 10);
  EXPECT_EQ(trained_hashes(parts.path()), trained_hashes(whole.path()));
}

TEST_F(CudaTraining, AStepThatIsNotFiniteIsNotTakenAndNamedAStepLater) {
  const testing::TemporaryDirectory dir;
  Setting setting{.config = small_config(), .observers = {}, .device = place_.device};
  setting.config.schedule.lr = 1e30;
  setting.config.schedule.warmup_steps = 0;
  setting.config.clip_norm = 0.0;
  const std::string error =
      testing::error_of(ErrorCode::kCorrupt, [&] { return run(dir.path(), setting, *comm_); });
  EXPECT_NE(error.find("step 2, rows 6 to 11: loss"), std::string::npos) << error;
  EXPECT_FALSE(fs::exists(dir.path() / "step-2"));
}

TEST_F(CudaTraining, OperatorsAreNotTimedOnAGpu) {
  const testing::TemporaryDirectory dir;
  Setting setting{.config = small_config(), .observers = {}, .device = place_.device};
  setting.config.profile.from_step = 2;
  EXPECT_ERROR(run(dir.path(), setting, *comm_), kInvalidArgument, "nsys");
}

TEST_F(CudaTraining, ARankKnowsItsDevice) {
  EXPECT_EQ(place_.device, at::Device(at::kCUDA, 0));
  EXPECT_GT(available_device_memory(place_.device), 1e9);
  EXPECT_EQ(place_.name, backend_->device_names[0]);
}

}  // namespace
}  // namespace growmerge::distributed
