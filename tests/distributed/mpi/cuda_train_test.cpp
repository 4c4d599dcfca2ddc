// Several GPUs against one CPU: gradients over NCCL while backward runs, host sums over MPI.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/transformer/backend.h"
#include "distributed/device.h"
#include "distributed/train.h"
#include "tests/distributed/mpi/world.h"
#include "tests/distributed/synthetic.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

using testing::SyntheticSource;
using testing::world;

distributed::TrainResult train_on(const distributed::Placement& place, Communicator& comm,
                                  const std::filesystem::path& dir) {
  distributed::TrainConfig config;
  config.budget.steps = 20;
  config.batch_rows = 6;
  config.microbatch_rows = 1;
  config.schedule.lr = 3e-3;
  config.schedule.warmup_steps = 2;
  SyntheticSource source({.seed = 3});
  ModelConfig model = testing::tiny_config();
  model.head_dim = 16;
  return distributed::train(config, init_model(model, 5), source, nullptr, comm, {},
                            {.work_dir = dir, .device = place.device});
}

TEST(MpiCudaTraining, LossesOnSeveralGpusAreThoseOnOneCpu) {
  ASSERT_GT(world().size(), 1) << "start it with mpirun -n 2";
  const CudaBackend* backend = open_cuda_backend(GROWMERGE_CUDA_LIBRARY);
  const bool has_one = backend != nullptr && backend->num_devices >= world().local_size();
  if (!world().all_ok(has_one)) {
    GTEST_SKIP() << "needs a CUDA device a rank";
  }
  const testing::TemporaryDirectory own;
  std::string shared = own.path().string();
  world().broadcast_bytes(shared, 0);
  std::filesystem::create_directories(own.path() / "one");
  const auto single = make_single_process_communicator();
  const auto one = train_on({}, *single, own.path() / "one");
  const auto place = distributed::place_rank("cuda", backend, world());
  const auto nccl = distributed::make_device_communicator(place, backend, world());
  ASSERT_NE(nccl, nullptr);
  const auto all = train_on(place, *nccl, shared);
  ASSERT_EQ(all.losses.size(), one.losses.size());
  for (std::size_t i = 0; i < one.losses.size(); ++i) {
    EXPECT_NEAR(all.losses[i], one.losses[i], 1e-4 * one.losses[i]) << "step " << i + 1;
  }
  world().barrier();
}

}  // namespace
}  // namespace growmerge
