#include "tests/core/ops/cuda/emulation.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <exception>
#include <utility>
#include <vector>

#include "core/base/error.h"

thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace growmerge::ops::cuda::emulation {
namespace {

constexpr std::size_t kStackBytes = 256 << 10;
constexpr unsigned kWarpSize = 32;

/// Who waits until `expected` threads have come.
struct Barrier {
  unsigned expected = 0;
  unsigned arrived = 0;
  std::uint64_t generation = 0;
};

/// Begins on a stack of its own by swapcontext(); from then on _setjmp() and _longjmp() change
/// over, which unlike swapcontext() ask nothing of the kernel.
struct Fiber {
  ucontext_t context{};
  jmp_buf place{};
  void* stack = nullptr;
  bool has_begun = false;
  bool is_done = false;
};

struct Warp {
  Barrier barrier;
  /// Of even and of odd exchanges: a lane may write its next one while others still read.
  std::array<std::array<std::array<unsigned char, 8>, kWarpSize>, 2> slots{};
};

struct Machine {
  std::vector<Fiber> fibers;  // stacks are kept from launch to launch
  std::vector<Warp> warps;
  Barrier block;
  ucontext_t start{};
  jmp_buf scheduler{};
  unsigned current = 0;
  bool has_moved = false;  // since the scheduler's round began
  const std::function<void()>* thread = nullptr;
  std::exception_ptr error;
  Order order = Order::kAscending;
};

Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

void fiber_main() {
  Machine& m = machine();
  try {
    (*m.thread)();
  } catch (...) {
    m.error = std::current_exception();
  }
  m.fibers[m.current].is_done = true;
  m.has_moved = true;
  _longjmp(m.scheduler, 1);
}

void yield() {
  Machine& m = machine();
  if (_setjmp(m.fibers[m.current].place) == 0) {
    _longjmp(m.scheduler, 1);
  }
}

/// Lets the current fiber run until it yields or ends.
void resume() {
  Machine& m = machine();
  Fiber& fiber = m.fibers[m.current];
  if (_setjmp(m.scheduler) == 0) {
    if (fiber.has_begun) {
      _longjmp(fiber.place, 1);
    }
    fiber.has_begun = true;
    swapcontext(&m.start, &fiber.context);
  }
}

void wait_at(Barrier& barrier) {
  Machine& m = machine();
  const std::uint64_t generation = barrier.generation;
  m.has_moved = true;
  if (++barrier.arrived == barrier.expected) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  while (barrier.generation == generation) {
    yield();
  }
  m.has_moved = true;
}

void start(Fiber& fiber) {
  if (fiber.stack == nullptr) {
    fiber.stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    GM_ASSERT(fiber.stack != MAP_FAILED);
  }
  fiber.has_begun = false;
  fiber.is_done = false;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
}

void run_block(unsigned threads) {
  Machine& m = machine();
  if (m.fibers.size() < threads) {
    m.fibers.resize(threads);
  }
  m.warps.assign(threads / kWarpSize, Warp{});
  for (Warp& warp : m.warps) {
    warp.barrier.expected = kWarpSize;
  }
  m.block = Barrier{.expected = threads};
  for (unsigned t = 0; t < threads; ++t) {
    start(m.fibers[t]);
  }
  for (unsigned left = threads; left > 0;) {
    m.has_moved = false;
    for (unsigned i = 0; i < threads; ++i) {
      const unsigned t = m.order == Order::kAscending ? i : threads - 1 - i;
      if (m.fibers[t].is_done) {
        continue;
      }
      m.current = t;
      threadIdx = dim3(t);
      resume();
      if (m.error != nullptr) {
        std::rethrow_exception(std::exchange(m.error, nullptr));
      }
      left -= m.fibers[t].is_done ? 1 : 0;
    }
    GM_CHECK(m.has_moved || left == 0, kInternal, "emulated kernel: ", left, " of ", threads,
             " threads of block ", blockIdx.x, " wait for others that have left or wait elsewhere");
  }
}

}  // namespace

void set_order(Order order) { machine().order = order; }

void run(dim3 grid, unsigned threads, const std::function<void()>& thread) {
  GM_CHECK(threads > 0 && threads <= 1024 && threads % kWarpSize == 0, kInternal,
           "emulated kernel: blocks of ", threads, " threads, expected whole warps, at most 1024");
  GM_CHECK(grid.y <= 65535 && grid.z <= 65535, kInternal, "emulated kernel: a grid of ", grid.x,
           " x ", grid.y, " x ", grid.z, " blocks, CUDA allows 65535 in y and z");
  Machine& m = machine();
  m.thread = &thread;
  gridDim = grid;
  blockDim = dim3(threads);
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t b = m.order == Order::kAscending ? i : blocks - 1 - i;
    blockIdx = dim3(static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                    static_cast<unsigned>(b / grid.x / grid.y));
    run_block(threads);
  }
}

int lane() { return static_cast<int>(threadIdx.x % kWarpSize); }

void sync_warp() { wait_at(machine().warps[threadIdx.x / kWarpSize].barrier); }

void* slot(int lane, std::uint64_t exchange) {
  GM_ASSERT(lane >= 0 && lane < static_cast<int>(kWarpSize));
  Warp& warp = machine().warps[threadIdx.x / kWarpSize];
  return warp.slots[exchange % 2][static_cast<std::size_t>(lane)].data();
}

std::uint64_t num_exchange() { return machine().warps[threadIdx.x / kWarpSize].barrier.generation; }

}  // namespace growmerge::ops::cuda::emulation

void __syncthreads() {
  namespace emulation = growmerge::ops::cuda::emulation;
  emulation::wait_at(emulation::machine().block);
}
