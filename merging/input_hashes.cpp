#include "merging/input_hashes.h"

#include <algorithm>

#include "core/store/hashes.h"
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
  std::uint64_t in_order;    // all tensors before it were or are being read
  std::mutex mutex;          // of what follows
  std::uint64_t hashed = 0;  // bytes
};

InputHashes::InputHashes(const MergePlan& plan) {
  for (const auto* list : {&plan.models, &plan.bases}) {
    for (const SourceModel& model : *list) {
      add(model.checkpoint());
    }
  }
}

InputHashes::~InputHashes() = default;

void InputHashes::add(const CheckpointReader& model) {
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
  std::vector<const TensorInfo*> infos;  // of each stream; null where it stands out of order
  for (const auto& stream : streams_) {
    infos.push_back(nullptr);
    if (stream->file.contains(tensor)) {
      const TensorInfo& info = stream->file.info(tensor);
      if (info.begin <= stream->in_order) {
        infos.back() = &info;
        stream->in_order = std::max(stream->in_order, info.end);
      }
    }
  }
  const auto run = [this, infos, &out](std::int64_t job, std::int64_t end) {
    const auto number = static_cast<std::size_t>(job);
    const bool is_output = number == infos.size();
    const std::unique_lock lock(is_output ? out_mutex_ : streams_[number]->mutex, std::try_to_lock);
    if (!lock) {
      return;  // the one who has it, or the next one, comes this far
    }
    if (is_output) {
      out.hash_complete_part(kOutputBytes);
    } else if (infos[number] != nullptr) {
      // The output's tensor may be longer: another vocabulary, or other layers.
      const TensorInfo& info = *infos[number];
      streams_[number]->hash_to(std::min(
          info.end, info.begin + static_cast<std::uint64_t>(end) * c10::elementSize(info.dtype)));
    }
  };
  return {.num_jobs = static_cast<std::int64_t>(streams_.size()) + 1, .run = run};
}

void InputHashes::finish() {
  for_each_in_parallel(static_cast<std::int64_t>(streams_.size()), [this](std::int64_t i) {
    Stream& stream = *streams_[static_cast<std::size_t>(i)];
    stream.hash_to(stream.file.all_bytes().size());
    stream.hasher.finish();
  });
}

}  // namespace growmerge::merging
