#include "core/base/profile.h"

#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace growmerge::profile {
namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// All threads' events of the window that is open.
struct Recorder {
  std::mutex mutex;
  std::vector<Event> events;
  int num_threads = 0;
  std::int64_t window = 0;  // scopes of an earlier one end unrecorded
};

Recorder& recorder() {
  static Recorder instance;
  return instance;
}

/// The scopes that this thread is in.
struct Stack {
  std::vector<Event> open;
  std::int64_t window = -1;
  int thread = 0;
};

Stack& stack() {
  thread_local Stack instance;
  return instance;
}

/// The first run is not timed: it touches pages and lets libraries prepare. The median, because
/// other work on the machine may disturb single runs.
double median_seconds(const std::function<void()>& work) {
  work();
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i) {
    const std::int64_t begin = now_ns();
    work();
    seconds.push_back(static_cast<double>(now_ns() - begin) * 1e-9);
  }
  std::nth_element(seconds.begin(), seconds.begin() + 2, seconds.end());
  return seconds[2];
}

/// Of zeros, which take as long as any numbers do.
double product_gflops(at::ScalarType dtype) {
  const at::Tensor a = at::zeros({1024, 1024}, dtype);
  at::Tensor c = at::zeros({1024, 1024}, dtype);
  return 2.0 * 1024 * 1024 * 1024 * 1e-9 / median_seconds([&] { at::mm_out(c, a, a); });
}

std::string cell(double value, const char* format) {
  if (value == 0.0) {
    return "";
  }
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

namespace detail {

std::atomic<bool> is_open{false};

void begin(const char* name, Work work) {
  Stack& own = stack();
  Recorder& all = recorder();
  {
    // What an earlier window left open on this thread is forgotten, and the thread gets its number
    // in this one.
    const std::lock_guard lock(all.mutex);
    if (own.window != all.window) {
      own.open.clear();
      own.window = all.window;
      own.thread = all.num_threads++;
    }
  }
  // Literals, so that an event holds pointers and no text is copied while time is taken.
  const char* parent = own.open.empty() ? "" : own.open.back().name;
  own.open.push_back(
      {.name = name, .parent = parent, .begin_ns = now_ns(), .thread = own.thread, .work = work});
}

void end() {
  Stack& own = stack();
  if (own.open.empty()) {
    return;  // of an earlier window
  }
  Event event = own.open.back();
  own.open.pop_back();
  event.end_ns = now_ns();
  const std::int64_t took = event.end_ns - event.begin_ns;
  event.own_ns += took;  // the scopes inside have been taken off
  if (!own.open.empty()) {
    own.open.back().own_ns -= took;
  }
  Recorder& all = recorder();
  const std::lock_guard lock(all.mutex);
  // A scope that ends behind stop() is not in the table, though it began before.
  if (own.window == all.window && is_open.load(std::memory_order_relaxed)) {
    all.events.push_back(event);
  }
}

}  // namespace detail

void start() {
  Recorder& all = recorder();
  const std::lock_guard lock(all.mutex);
  all.events.clear();
  all.num_threads = 0;
  ++all.window;
  detail::is_open = true;
}

std::vector<Event> stop() {
  Recorder& all = recorder();
  const std::lock_guard lock(all.mutex);
  detail::is_open = false;
  return std::move(all.events);
}

Limits measure_limits() {
  // Two arrays of 134 MB: more than caches hold, so this is memory's rate and not theirs.
  constexpr std::int64_t kBytes = std::int64_t{1} << 27;
  std::vector<char> from(kBytes, 1);
  std::vector<char> to(kBytes);
  const double seconds = median_seconds([&] {
    at::parallel_for(0, kBytes, kBytes / at::get_num_threads(),
                     [&](std::int64_t begin, std::int64_t end) {
                       std::memcpy(to.data() + begin, from.data() + begin,
                                   static_cast<std::size_t>(end - begin));
                     });
  });
  return {.gflops_float32 = product_gflops(at::ScalarType::Float),
          .gflops_bfloat16 = product_gflops(at::ScalarType::BFloat16),
          // A copy reads every byte and writes it.
          .gb_per_s = 2.0 * static_cast<double>(kBytes) * 1e-9 / seconds};
}

std::string chrome_trace(const std::vector<Event>& events, int rank) {
  nlohmann::ordered_json out = {{"displayTimeUnit", "ms"}};
  auto& list = out["traceEvents"] = nlohmann::ordered_json::array();
  // The format counts microseconds; from the first event on, so that they are short numbers.
  std::int64_t first = 0;
  for (const Event& event : events) {
    first = first == 0 ? event.begin_ns : std::min(first, event.begin_ns);
  }
  for (const Event& event : events) {
    list.push_back(
        {{"name", event.name},
         {"ph", "X"},
         {"pid", rank},
         {"tid", event.thread},
         {"ts", static_cast<double>(event.begin_ns - first) * 1e-3},
         {"dur", static_cast<double>(event.end_ns - event.begin_ns) * 1e-3},
         {"args", {{"gflop", event.work.flops * 1e-9}, {"mb", event.work.bytes * 1e-6}}}});
  }
  return out.dump() + "\n";
}

std::string table(const std::vector<Event>& events, const Limits& limits, double matrix_gflops) {
  struct Sum {
    std::int64_t calls = 0;
    double seconds = 0.0;
    Work work;
  };
  std::map<std::string, Sum> sums;
  double total = 0.0;
  for (const Event& event : events) {
    const std::string name = event.name;
    // By parent as well: an operator that is called from two places has a line for each.
    Sum& sum = sums[*event.parent == '\0' ? name : event.parent + (": " + name)];
    ++sum.calls;
    const double seconds = static_cast<double>(event.own_ns) * 1e-9;
    sum.seconds += seconds;
    total += seconds;
    sum.work.flops += event.work.flops;
    sum.work.bytes += event.work.bytes;
  }
  std::vector<std::pair<std::string, Sum>> sorted(sums.begin(), sums.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second.seconds > b.second.seconds;
  });
  std::string out =
      "| operator | calls | own time, ms | share | GFLOP/s | GB/s | of the limit |\n"
      "|---|---:|---:|---:|---:|---:|---:|\n";
  for (const auto& [name, sum] : sorted) {
    const double gflops = sum.seconds > 0.0 ? sum.work.flops * 1e-9 / sum.seconds : 0.0;
    const double gb = sum.seconds > 0.0 ? sum.work.bytes * 1e-9 / sum.seconds : 0.0;
    // An operator is bound by arithmetic or by memory; whichever limit it is nearer to says how
    // much is left.
    const double share = std::max(matrix_gflops > 0.0 ? gflops / matrix_gflops : 0.0,
                                  limits.gb_per_s > 0.0 ? gb / limits.gb_per_s : 0.0);
    out += concat("| ", name, " | ", sum.calls, " | ", cell(sum.seconds * 1e3, "%.2f"), " | ",
                  cell(total > 0.0 ? 100.0 * sum.seconds / total : 0.0, "%.1f %%"), " | ",
                  cell(gflops, "%.0f"), " | ", cell(gb, "%.1f"), " | ",
                  cell(100.0 * share, "%.0f %%"), " |\n");
  }
  return out;
}

}  // namespace growmerge::profile
