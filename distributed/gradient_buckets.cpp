#include "distributed/gradient_buckets.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/base/error.h"

namespace growmerge::distributed {

GradientBuckets::GradientBuckets(const ParamMap& params, at::ScalarType dtype,
                                 std::int64_t bucket_bytes) {
  GM_CHECK(bucket_bytes > 0, kInvalidArgument, "bucket size must be positive, got ", bucket_bytes,
           " bytes");
  const std::vector<ParamMap::Entry> entries(params.begin(), params.end());
  const auto width = static_cast<std::int64_t>(c10::elementSize(dtype));
  std::unordered_map<std::string, at::Tensor> views;
  // From the back, because backward ends with the embedding, which stands first.
  for (std::size_t end = entries.size(); end > 0;) {
    std::size_t begin = end;
    std::int64_t elements = 0;
    while (begin > 0 && elements * width < bucket_bytes) {
      elements += entries[--begin].second.numel();
    }
    Bucket bucket;
    // Where the parameters lie, so that sums of GPUs stay on them.
    bucket.flat = at::zeros({elements}, entries[begin].second.options().dtype(dtype));
    bucket.num_tensors = end - begin;
    std::int64_t offset = 0;
    for (std::size_t i = end; i-- > begin;) {
      const auto& [name, tensor] = entries[i];
      views[name] = bucket.flat.narrow(0, offset, tensor.numel()).view(tensor.sizes());
      bucket_of_[name] = buckets_.size();
      is_ready_[name] = false;
      offset += tensor.numel();
    }
    buckets_.push_back(std::move(bucket));
    end = begin;
  }
  for (const auto& [name, tensor] : params) {
    // In the order of the parameters, which the norm's additions follow.
    grads_.set(name, views.at(name));
  }
}

void GradientBuckets::zero() {
  for (Bucket& bucket : buckets_) {
    bucket.flat.zero_();
  }
}

void GradientBuckets::ready(const std::string& name, Communicator& comm) {
  const auto it = is_ready_.find(name);
  GM_ASSERT(it != is_ready_.end());
  GM_ASSERT(!it->second);
  it->second = true;
  ++buckets_[bucket_of_.at(name)].num_ready;
  start_ready(comm, false);
  // Called between the parts of a backward pass, this is where MPI gets to move earlier buckets on.
  comm.progress();
}

void GradientBuckets::start_ready(Communicator& comm, bool all) {
  // Never out of order: ranks that finish tensors differently must still start the same sums.
  while (next_ < buckets_.size() &&
         (all || buckets_[next_].num_ready == buckets_[next_].num_tensors)) {
    Bucket& bucket = buckets_[next_++];
    bucket.work = comm.all_reduce_async(bucket.flat, ReduceOp::kSum);
  }
}

void GradientBuckets::finish(Communicator& comm) {
  start_ready(comm, true);
  for (Bucket& bucket : buckets_) {
    bucket.work->wait();
    bucket.work.reset();
    bucket.num_ready = 0;
  }
  for (auto& [name, is_ready] : is_ready_) {
    is_ready = false;
  }
  next_ = 0;
}

}  // namespace growmerge::distributed
