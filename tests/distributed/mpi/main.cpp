// Runs the tests on every rank at once. Rank 0 prints; the others print only what fails. A rank
// that fails a test fails the job.
#include <gtest/gtest.h>

#include <memory>

#include "core/base/error.h"
#include "core/base/log.h"
#include "distributed/mpi_communicator.h"
#include "tests/distributed/mpi/world.h"

namespace growmerge::testing {
namespace {

std::unique_ptr<Communicator>& instance() {
  static std::unique_ptr<Communicator> world;
  return world;
}

class OnlyFailures final : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (result.failed()) {
      log_error(concat(result.file_name() != nullptr ? result.file_name() : "?", ":",
                       result.line_number(), ": ", result.summary()));
    }
  }
};

}  // namespace

Communicator& world() { return *instance(); }

}  // namespace growmerge::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  auto& world = growmerge::testing::instance();
  world = growmerge::distributed::make_mpi_world(&argc, &argv);
  world->set_timeout(120.0);
  growmerge::configure_log(
      {.level = growmerge::LogLevel::kWarning, .rank = world->rank(), .world_size = world->size()});
  if (world->rank() != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new growmerge::testing::OnlyFailures);
  }
  const int code = growmerge::distributed::run_rank(*world, [] { return RUN_ALL_TESTS(); });
  world.reset();
  return code;
}
