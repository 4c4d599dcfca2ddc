#include "distributed/cuda/graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

namespace growmerge::distributed {
namespace {

class Graph final : public DeviceGraph {
 public:
  explicit Graph(const std::function<void()>& work) {
    // The default stream cannot be captured. What `work` uses must be there before: libraries make
    // their handles and workspaces per stream.
    c10::cuda::getCurrentCUDAStream().synchronize();
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
    graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      end_after_failure();
      throw;
    }
    graph_.capture_end();
  }

  void replay() override { graph_.replay(); }

 private:
  /// A capture that is left open would break the stream; its own error says nothing new.
  void end_after_failure() {
    try {
      graph_.capture_end();
    } catch (const std::exception&) {
    }
  }

  at::cuda::CUDAGraph graph_;
};

}  // namespace

std::unique_ptr<DeviceGraph> record_graph(const std::function<void()>& work) {
  return std::make_unique<Graph>(work);
}

}  // namespace growmerge::distributed
