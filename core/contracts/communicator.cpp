#include "core/contracts/communicator.h"

#include <ATen/ops/full.h>

#include <cstdlib>

#include "core/base/error.h"
#include "core/base/failure.h"

namespace growmerge {
namespace {

class DoneWork final : public Work {
 public:
  void wait() override {}
};

class SingleProcess final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  std::unique_ptr<Work> all_reduce_async(at::Tensor, ReduceOp) override {
    return std::make_unique<DoneWork>();
  }
  void reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp) override {
    output.copy_(input);
  }
  void all_gather(const at::Tensor& input, at::Tensor output) override { output.copy_(input); }
  void broadcast(at::Tensor, int) override {}
  void barrier() override {}
  std::unique_ptr<Communicator> split(int, int) override {
    return make_single_process_communicator();
  }
  void broadcast_bytes(std::string&, int) override {}
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override { return {bytes}; }
};

}  // namespace

double Communicator::all_reduce_scalar(double value, ReduceOp op) {
  at::Tensor tensor = at::full({1}, value, at::kDouble);
  all_reduce(tensor, op);
  return tensor.data_ptr<double>()[0];
}

std::unique_ptr<Communicator> make_single_process_communicator() {
  return std::make_unique<SingleProcess>();
}

void run_agreed(Communicator& comm, const std::function<void()>& work) {
  std::string failure;  // "<code> <message>"
  try {
    work();
  } catch (const std::exception& e) {
    failure = std::to_string(static_cast<int>(code_of(e))) + " " + e.what();
  }
  if (comm.all_ok(failure.empty())) {
    return;
  }
  const std::vector<std::string> failures = comm.all_gather_bytes(failure);
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    if (!failures[rank].empty()) {
      const std::size_t space = failures[rank].find(' ');
      const auto code = static_cast<ErrorCode>(std::atoi(failures[rank].substr(0, space).c_str()));
      const std::string text = failures[rank].substr(space + 1);
      throw Error(code, failures.size() == 1 ? text : concat("rank ", rank, ": ", text));
    }
  }
}

}  // namespace growmerge
