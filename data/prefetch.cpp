#include "data/prefetch.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

// A rank asks for its microbatches and then for those of the next step: the pattern repeats with
// the number of microbatches.
constexpr std::size_t kLongestPeriod = 64;

}  // namespace

PrefetchSource::PrefetchSource(std::unique_ptr<BatchSource> source, std::size_t depth)
    : source_(std::move(source)), depth_(std::max<std::size_t>(depth, 1)) {
  thread_ = std::thread([this] { work(); });
}

PrefetchSource::~PrefetchSource() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void PrefetchSource::work() {
  std::unique_lock lock(mutex_);
  const auto next_job = [this] {
    return std::find_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return !job->done; });
  };
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || next_job() != jobs_.end(); });
    if (stop_) {
      return;
    }
    Job* job = next_job()->get();
    running_ = job;
    // Reading takes long; the trainer may ask meanwhile.
    lock.unlock();
    try {
      job->batch = source_->rows(job->request.first, job->request.count);
    } catch (...) {
      job->error = std::current_exception();
    }
    lock.lock();
    job->done = true;
    running_ = nullptr;
    abandoned_.reset();
    changed_.notify_all();
  }
}

Batch PrefetchSource::rows(std::int64_t first, std::int64_t count) {
  const Request request{first, count};
  remember(request);
  std::unique_lock lock(mutex_);
  if (!jobs_.empty() && jobs_.front()->request == request) {
    ++num_hits_;
  } else {  // what was prepared is of no use
    for (auto& job : jobs_) {
      if (job.get() == running_) {
        // The thread is inside this one: it must outlive its work, though nobody wants it.
        abandoned_ = std::move(job);
      }
    }
    jobs_.clear();
    jobs_.push_back(std::make_unique<Job>());
    jobs_.front()->request = request;
  }
  // The front job is this request; those behind it are made while the caller computes.
  const std::vector<Request> expected = predict(depth_);
  for (std::size_t i = jobs_.size(); i <= expected.size(); ++i) {
    jobs_.push_back(std::make_unique<Job>());
    jobs_.back()->request = expected[i - 1];
  }
  changed_.notify_all();
  changed_.wait(lock, [this] { return jobs_.front()->done; });
  const std::unique_ptr<Job> job = std::move(jobs_.front());
  jobs_.pop_front();
  lock.unlock();
  if (job->error) {
    std::rethrow_exception(job->error);
  }
  return std::move(job->batch);
}

void PrefetchSource::remember(Request request) {
  history_.push_back(request);
  if (history_.size() > 4 * kLongestPeriod) {
    history_.erase(history_.begin(), history_.end() - 2 * kLongestPeriod - 1);
  }
}

std::vector<PrefetchSource::Request> PrefetchSource::predict(std::size_t count) const {
  std::vector<std::int64_t> steps;  // from one request's first row to the next one's
  for (std::size_t i = 1; i < history_.size(); ++i) {
    steps.push_back(history_[i].first - history_[i - 1].first);
  }
  std::size_t period = 1;  // where nothing repeats, the best guess is the last step again
  std::size_t longest_run = 0;
  for (std::size_t p = 1; p <= kLongestPeriod && 2 * p <= steps.size(); ++p) {
    std::size_t run = 0;  // how many of the latest steps equal the one p before
    while (run + p < steps.size() &&
           steps[steps.size() - 1 - run] == steps[steps.size() - 1 - run - p]) {
      ++run;
    }
    if (run >= p && run > longest_run) {
      period = p;
      longest_run = run;
    }
  }
  const std::int64_t limit = source_->num_rows();
  std::vector<Request> requests;
  Request next = history_.back();
  for (std::size_t i = 0; i < count; ++i) {
    next.first += steps.empty() ? next.count : steps[steps.size() - period + i % period];
    if (next.first < 0 || (limit >= 0 && next.first + next.count > limit)) {
      break;
    }
    requests.push_back(next);
  }
  return requests;
}

}  // namespace growmerge::data
