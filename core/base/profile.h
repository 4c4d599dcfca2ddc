// Where the time of a piece of work goes: scopes around operators, recorded while a window is open.
// Outside of one a scope costs one relaxed load. Scopes nest; an operator's own time is without
// that of the scopes inside it. Recorded from any thread, though operators are called by one.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace growmerge::profile {

/// Work of a scope as its definition counts it: 2 operations a multiply-add, and bytes of operands
/// read and results written once. 0 where nobody counts.
struct Work {
  double flops = 0.0;
  double bytes = 0.0;
};

struct Event {
  const char* name = "";    // a literal
  const char* parent = "";  // the scope around it, "" where there is none
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t own_ns = 0;  // without the scopes inside
  int thread = 0;
  Work work;
};

namespace detail {
extern std::atomic<bool> is_open;
void begin(const char* name, Work work);
void end();
}  // namespace detail

class Scope {
 public:
  explicit Scope(const char* name) : Scope(name, [] { return Work{}; }) {}
  /// `work()` is asked for inside a window only.
  template <class Fn>
  Scope(const char* name, const Fn& work)
      : is_recorded_(detail::is_open.load(std::memory_order_relaxed)) {
    if (is_recorded_) {
      detail::begin(name, work());
    }
  }
  ~Scope() {
    if (is_recorded_) {
      detail::end();
    }
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  bool is_recorded_;
};

/// Opens the window and forgets an earlier one.
void start();
/// Closes it; the events in order of their end. Scopes still open are not among them.
[[nodiscard]] std::vector<Event> stop();

/// What this machine can do at most, measured now on this process's threads (about 0.1 s).
struct Limits {
  double gflops_float32 = 0.0;   // a product of 1024 x 1024 matrices
  double gflops_bfloat16 = 0.0;  // the same
  double gb_per_s = 0.0;         // a copy, bytes read and written
};
[[nodiscard]] Limits measure_limits();

/// Chrome's trace format (chrome://tracing, Perfetto).
[[nodiscard]] std::string chrome_trace(const std::vector<Event>& events, int rank);
/// One line for each name within its parent, most own time first: calls, own time and share of it,
/// GFLOP/s, GB/s and the larger share of the two limits. Markdown. `matrix_gflops` is the limit of
/// products.
[[nodiscard]] std::string table(const std::vector<Event>& events, const Limits& limits,
                                double matrix_gflops);

}  // namespace growmerge::profile
