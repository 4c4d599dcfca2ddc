// A BatchSource that prepares the next batches on a thread of its own, so that a training step
// finds its rows ready.
//
// Which rows come next is learned: the period that explains the longest run of the latest steps
// between requests (one fixed step, or a few micro-batches and then a jump) predicts the following
// ones. A wrong guess costs the work thrown away and nothing else; what rows() returns never
// depends on guesses.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/contracts/batch_source.h"

namespace growmerge::data {

class PrefetchSource final : public BatchSource {
 public:
  /// `depth`: how many requests are prepared ahead, at least 1. Memory: depth + 1 batches.
  PrefetchSource(std::unique_ptr<BatchSource> source, std::size_t depth);
  ~PrefetchSource() override;

  /// One thread at a time. Errors: those of the source, thrown here by the request they belong to.
  [[nodiscard]] Batch rows(std::int64_t first, std::int64_t count) override;
  [[nodiscard]] std::int64_t num_rows() const override { return source_->num_rows(); }
  [[nodiscard]] std::int64_t row_tokens() const override { return source_->row_tokens(); }
  [[nodiscard]] std::int64_t vocab_size() const override { return source_->vocab_size(); }
  [[nodiscard]] const std::vector<std::string>& source_names() const override {
    return source_->source_names();
  }
  [[nodiscard]] std::string identity() const override { return source_->identity(); }
  /// Requests that had been predicted.
  [[nodiscard]] std::int64_t num_hits() const { return num_hits_; }

 private:
  struct Request {
    std::int64_t first = 0;
    std::int64_t count = 0;
    bool operator==(const Request&) const = default;
  };
  struct Job {
    Request request;
    bool done = false;
    Batch batch;
    std::exception_ptr error;
  };
  void work();
  void remember(Request request);
  [[nodiscard]] std::vector<Request> predict(std::size_t count) const;

  std::unique_ptr<BatchSource> source_;
  std::size_t depth_;
  std::vector<Request> history_;  // the latest requests, oldest first
  std::int64_t num_hits_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Job>>
      jobs_;                        // in the order in which they are expected to be asked for
  Job* running_ = nullptr;          // taken by the thread
  std::unique_ptr<Job> abandoned_;  // running, but no longer wanted
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace growmerge::data
