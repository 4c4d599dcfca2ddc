#include "merging/input_hashes.h"

#include <algorithm>

#include "merging/tile.h"

namespace growmerge::merging {
namespace {

constexpr std::uint64_t kOutputBytes = std::uint64_t{4} << 20;  // of the output at a time

}  // namespace

struct InputHashes::Stream {
  explicit Stream(const SafetensorsFile& weights)
      : file(weights), hasher(weights.path()), in_order(weights.tensors().front().begin) {}

  void hash_to(std::uint64_t end) {
    if (end > hashed) {
      hasher.update(file.all_bytes().subspan(hashed, end - hashed));
      hashed = end;
    }
  }

  const SafetensorsFile& file;
  FileHasher hasher;
  std::uint64_t in_order;           // all tensors before it were or are being read
  const TensorInfo* now = nullptr;  // the tensor in work, where it stands in order
  std::mutex mutex;                 // of what follows
  std::uint64_t hashed = 0;         // bytes
};

InputHashes::InputHashes(const MergePlan& plan) {
  for (const CheckpointReader& model : plan.models) {
    add(model);
  }
  if (plan.base) {
    add(*plan.base);
  }
}

InputHashes::~InputHashes() = default;

void InputHashes::add(const CheckpointReader& model) {
  if (read_manifest(model.dir())) {
    return;  // which says what its identity is
  }
  for (const TensorInfo& info : model.tensors()) {
    const SafetensorsFile& file = model.file(info.name);
    const bool is_there = std::any_of(streams_.begin(), streams_.end(), [&file](const auto& s) {
      return s->file.path() == file.path();
    });
    if (!is_there && FileHasher(file.path()).is_wanted()) {
      streams_.push_back(std::make_unique<Stream>(file));
    }
  }
}

BesideWork InputHashes::beside(const std::string& tensor, SafetensorsWriter& out) {
  for (const auto& stream : streams_) {
    stream->now = nullptr;
    if (stream->file.contains(tensor)) {
      const TensorInfo& info = stream->file.info(tensor);
      if (info.begin <= stream->in_order) {
        stream->now = &info;
        stream->in_order = std::max(stream->in_order, info.end);
      }
    }
  }
  const auto num_streams = static_cast<std::int64_t>(streams_.size());
  const auto run = [this, num_streams, &out](std::int64_t job, std::int64_t end) {
    std::mutex& mutex =
        job < num_streams ? streams_[static_cast<std::size_t>(job)]->mutex : out_mutex_;
    const std::unique_lock lock(mutex, std::try_to_lock);
    if (!lock) {
      return;  // the one who has it, or the next one, comes this far
    }
    if (job == num_streams) {
      out.hash_complete_part(kOutputBytes);
      return;
    }
    Stream& stream = *streams_[static_cast<std::size_t>(job)];
    if (stream.now != nullptr) {
      stream.hash_to(stream.now->begin +
                     static_cast<std::uint64_t>(end) * c10::elementSize(stream.now->dtype));
    }
  };
  return {.num_jobs = num_streams + 1, .run = run};
}

void InputHashes::finish() {
  for_each_in_parallel(static_cast<std::int64_t>(streams_.size()), [this](std::int64_t i) {
    Stream& stream = *streams_[static_cast<std::size_t>(i)];
    stream.hash_to(stream.file.all_bytes().size());
    stream.hasher.finish();
  });
}

}  // namespace growmerge::merging
