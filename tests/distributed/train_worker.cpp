// A small training job, to be started under mpirun by the tests of kills, signals and resumption:
//   growmerge_train_worker WORK_DIR [die=RANK:STEP] [stall=RANK:STEP] [slow_ms=N] [rows=FILE]
//   [key=value ...]
// Keys that are not its own go to TrainConfig. Prints one JSON line with what was done; with rows=
// writes the rows of the first steps, for an independent trainer.
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/hashes.h"
#include "distributed/mpi_communicator.h"
#include "distributed/signals.h"
#include "distributed/train.h"
#include "tests/distributed/synthetic.h"

namespace growmerge {
namespace {

/// Does to its process what the command line asks for.
class Accidents final : public StepObserver {
 public:
  Accidents(std::map<std::string, std::string> given, int rank)
      : given_(std::move(given)), rank_(rank) {}
  void after_step(const StepInfo& info, const ParamMap&, std::map<std::string, double>&) override {
    const std::string here = concat(rank_, ":", info.step);
    if (given_["die"] == here) {
      kill(getpid(), SIGKILL);
    }
    if (given_["stall"] == here) {
      sleep(60);
    }
    if (!given_["slow_ms"].empty()) {
      usleep(static_cast<useconds_t>(1000 * std::stoi(given_["slow_ms"])));
    }
  }

 private:
  std::map<std::string, std::string> given_;
  int rank_;
};

void write_rows(const std::string& path, BatchSource& source, std::int64_t count) {
  nlohmann::json rows = nlohmann::json::array();
  for (std::int64_t row = 0; row < count; ++row) {
    const Batch batch = source.rows(row, 1);
    const auto* tokens = batch.tokens.data_ptr<std::int64_t>();
    rows.push_back({{"tokens", std::vector<std::int64_t>(tokens, tokens + batch.row_tokens)},
                    {"segment_starts", batch.segment_starts}});
  }
  std::ofstream(path) << rows.dump() << "\n";
}

int work(Communicator& world, int argc, char** argv) {
  GM_CHECK(argc >= 2, kInvalidArgument, "usage: growmerge_train_worker WORK_DIR [key=value ...]");
  std::map<std::string, std::string> accidents;
  std::vector<std::string> overrides;
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    const std::string key = word.substr(0, word.find('='));
    if (key == "die" || key == "stall" || key == "slow_ms" || key == "rows") {
      accidents[key] = word.substr(key.size() + 1);
    } else {
      overrides.push_back(word);
    }
  }
  const auto config = load_config<distributed::TrainConfig>("", overrides);
  const std::filesystem::path dir = argv[1];
  testing::SyntheticSource source({.seed = 3});
  testing::SyntheticSource held_out({.seed = 4, .rows = 7});
  if (world.is_root()) {
    std::filesystem::create_directories(dir);
    if (!accidents["rows"].empty()) {
      save_model(dir, testing::tiny_model(), {.dtype = at::kDouble, .companions_from = {}});
      write_rows(accidents["rows"], source, *config.budget.steps * config.batch_rows);
      return 0;
    }
  }
  world.barrier();
  Accidents observer(accidents, world.rank());
  StepObserver* observers[] = {&observer};
  const distributed::TrainResult result =
      distributed::train(config, testing::tiny_model(), source, &held_out, world, observers,
                         {.work_dir = dir, .start_identity = "tiny"});
  if (world.is_root()) {
    nlohmann::json out;
    out["resumed_from"] = result.resumed_from;
    out["steps"] = result.steps;
    out["losses"] = result.losses;
    out["model"] = hash_file(dir / "model.safetensors");
    out["first_rows"] = source.asked;
    std::cout << out.dump() << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace growmerge

int main(int argc, char** argv) {
  using namespace growmerge;
  auto world = distributed::make_mpi_world(&argc, &argv);
  const distributed::StopSignals signals;
  configure_log({.rank = world->rank(), .world_size = world->size()});
  return distributed::run_rank(*world, [&] { return work(*world, argc, argv); });
}
