// A few threads that work on items in any order and give the results back in the order in which the
// items were put in.
#pragma once

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace growmerge::data {

/// One thread puts and takes. At most `2 * threads + 1` items should wait at a time: take() when
/// full().
template <class Result>
class OrderedPool {
 public:
  explicit OrderedPool(int threads) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { work(); });
    }
  }
  OrderedPool(const OrderedPool&) = delete;
  OrderedPool& operator=(const OrderedPool&) = delete;
  ~OrderedPool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      todo_.clear();
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

  template <class Fn>
  void put(Fn&& fn) {
    std::packaged_task<Result()> task(std::forward<Fn>(fn));
    results_.push_back(task.get_future());
    {
      const std::lock_guard lock(mutex_);
      todo_.push_back(std::move(task));
    }
    changed_.notify_one();
  }
  [[nodiscard]] bool empty() const { return results_.empty(); }
  [[nodiscard]] bool full() const { return results_.size() > 2 * threads_.size(); }
  /// The oldest item's result; waits for it and throws what its work threw.
  [[nodiscard]] Result take() {
    std::future<Result> result = std::move(results_.front());
    results_.pop_front();
    return result.get();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stop_ || !todo_.empty(); });
      if (stop_) {
        return;
      }
      std::packaged_task<Result()> task = std::move(todo_.front());
      todo_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::deque<std::future<Result>> results_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<Result()>> todo_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace growmerge::data
