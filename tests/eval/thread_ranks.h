// Ranks as threads of one process: a Communicator for tests of what must not depend on their
// number.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <barrier>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/contracts/communicator.h"

namespace growmerge::testing {

class ThreadRanks {
 public:
  explicit ThreadRanks(int size)
      : size_(size), barrier_(size), slots_(static_cast<std::size_t>(size)) {}

  /// Runs work(comm) on every rank and throws the first rank's exception.
  void run(const std::function<void(Communicator&)>& work) {
    std::vector<std::exception_ptr> failures(static_cast<std::size_t>(size_));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size_; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          Rank comm(*this, rank);
          work(comm);
        } catch (...) {
          failures[static_cast<std::size_t>(rank)] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    for (const std::exception_ptr& failure : failures) {
      if (failure) {
        std::rethrow_exception(failure);
      }
    }
  }

 private:
  class Done final : public Work {
   public:
    void wait() override {}
  };

  class Rank final : public Communicator {
   public:
    Rank(ThreadRanks& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.size_; }
    int local_rank() const override { return rank_; }
    int local_size() const override { return all_.size_; }
    std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override {
      const std::string mine(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
      const std::vector<std::string> parts = all_gather_bytes(mine);
      at::Tensor result;
      for (const std::string& part : parts) {
        at::Tensor other = tensor.clone();
        std::copy(part.begin(), part.end(), static_cast<char*>(other.data_ptr()));
        if (!result.defined()) {
          result = other;
        } else {
          result = op == ReduceOp::kSum   ? result + other
                   : op == ReduceOp::kMax ? result.maximum(other)
                                          : result.minimum(other);
        }
      }
      tensor.copy_(result);
      return std::make_unique<Done>();
    }
    void broadcast_bytes(std::string& bytes, int root) override {
      bytes = all_gather_bytes(bytes)[static_cast<std::size_t>(root)];
    }
    std::vector<std::string> all_gather_bytes(const std::string& bytes) override {
      all_.slots_[static_cast<std::size_t>(rank_)] = bytes;
      all_.barrier_.arrive_and_wait();
      std::vector<std::string> parts = all_.slots_;
      all_.barrier_.arrive_and_wait();
      return parts;
    }
    void barrier() override { all_.barrier_.arrive_and_wait(); }
    void reduce_scatter(const at::Tensor&, at::Tensor, ReduceOp) override { unused(); }
    void all_gather(const at::Tensor&, at::Tensor) override { unused(); }
    void broadcast(at::Tensor, int) override { unused(); }
    std::unique_ptr<Communicator> split(int, int) override { unused(); }

   private:
    [[noreturn]] static void unused() {
      fail(ErrorCode::kInternal, "the test's communicator has no such operation");
    }
    ThreadRanks& all_;
    int rank_;
  };

  int size_;
  std::barrier<> barrier_;
  std::vector<std::string> slots_;
};

}  // namespace growmerge::testing
