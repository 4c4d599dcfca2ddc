// CUDA graphs: the back end's way to record work (core/transformer/backend.h).
#pragma once

#include <functional>
#include <memory>

#include "core/transformer/backend.h"

namespace growmerge::distributed {

/// CudaBackend::record_graph. Records on a stream of its own, behind what is queued on the current
/// one.
[[nodiscard]] std::unique_ptr<DeviceGraph> record_graph(const std::function<void()>& work);

}  // namespace growmerge::distributed
