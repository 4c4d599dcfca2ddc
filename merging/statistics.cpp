#include "merging/statistics.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/error.h"
#include "core/base/progress.h"
#include "core/store/safetensors.h"
#include "core/transformer/transformer.h"

namespace growmerge::merging {
namespace {

// Of both files; readers refuse any other.
constexpr const char* kVersion = "1";

// Adds the squares of `grads` to `fisher` and sets them to zero for the next sequence.
void absorb_squares(const ParamMap& fisher, const ParamMap& grads) {
  for (const auto& [name, gradient] : grads) {
    fisher.at(name).addcmul_(gradient, gradient);
    gradient.zero_();
  }
}

// Inputs, not targets: what an embedding row saw.
void count_tokens(const Batch& batch, const at::Tensor& counts) {
  const at::Tensor tokens = batch.tokens.contiguous();
  const std::int64_t* ids = tokens.const_data_ptr<std::int64_t>();
  std::int64_t* out = counts.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    GM_CHECK(ids[i] >= 0 && ids[i] < counts.numel(), kMismatch, "statistics: token id ", ids[i],
             " is outside the vocabulary of ", counts.numel());
    ++out[ids[i]];
  }
}

// An endless stream (num_rows() < 0) must be told where to stop.
std::int64_t rows_to_read(const StatisticsConfig& config, const BatchSource& source) {
  const std::int64_t available = source.num_rows();
  if (config.num_sequences == 0) {
    GM_CHECK(available >= 0, kInvalidArgument,
             "statistics: this stream never ends, so num_sequences must be given");
    GM_CHECK(available > config.first_sequence, kMismatch, "statistics: the stream has ", available,
             " sequences, none from ", config.first_sequence, " on");
    return available - config.first_sequence;
  }
  GM_CHECK(available < 0 || config.first_sequence + config.num_sequences <= available, kMismatch,
           "statistics: ", config.num_sequences, " sequences from ", config.first_sequence,
           " on are wanted, the stream has ", available, "; lower num_sequences, or 0 for all");
  return config.num_sequences;
}

// This rank's part: sums, not yet means.
Statistics local_sums(const StatisticsConfig& config, const Model& model, BatchSource& source,
                      Communicator& comm) {
  const bool exact = model.params.begin()->second.scalar_type() == at::ScalarType::Double;
  const at::ScalarType dtype = exact ? at::ScalarType::Double : at::ScalarType::Float;
  const ParamMap params = model.params.to(dtype);
  const ParamMap grads = params.zeros_like(dtype);
  Statistics out;
  out.fisher = params.zeros_like(dtype);
  out.token_counts = at::zeros({model.config.vocab_size}, at::ScalarType::Long);
  const std::int64_t rows = rows_to_read(config, source);
  Workspace workspace;
  Progress progress("stats", rows, "sequences", comm.is_root());
  // One row at a time: the square of a sum over rows would hold products between rows.
  for (std::int64_t i = comm.rank(); i < rows; i += comm.size()) {
    const std::int64_t row = config.first_sequence + i;
    const Batch batch = source.rows(row, 1);
    count_tokens(batch, out.token_counts);
    const std::int64_t targets = batch.num_targets();
    if (targets > 0) {
      const LossResult loss = loss_and_gradients(
          model.config, params, batch, 1.0 / static_cast<double>(targets), grads, {}, &workspace);
      GM_CHECK(std::isfinite(loss.loss_sum), kCorrupt, "statistics: the loss of sequence ", row,
               " is ", loss.loss_sum);
      absorb_squares(out.fisher, grads);
      ++out.num_sequences;
      out.num_tokens += targets;
    }
    progress.update(std::min(rows, i + comm.size()));
  }
  progress.finish();
  return out;
}

// A sum is finite only where every term is: one number to fetch a tensor.
void check_finite(const ParamMap& fisher) {
  for (const auto& [name, tensor] : fisher) {
    const double sum = tensor.sum().item<double>();
    GM_CHECK(std::isfinite(sum), kCorrupt, "statistics: the Fisher information of '", name,
             "' is not finite; a gradient overflowed or was NaN");
  }
}

std::map<std::string, std::string> metadata_of(const Statistics& statistics,
                                               const StatisticsOrigin& origin) {
  return {{"format_version", kVersion},
          {"model_identity", origin.model_identity},
          {"corpus_identity", origin.corpus_identity},
          {"num_sequences", std::to_string(statistics.num_sequences)},
          {"num_tokens", std::to_string(statistics.num_tokens)}};
}

std::int64_t metadata_count(const SafetensorsFile& file, const std::string& key) {
  const auto it = file.metadata().find(key);
  GM_CHECK(it != file.metadata().end() && !it->second.empty() && it->second.size() <= 18 &&
               it->second.find_first_not_of("0123456789") == std::string::npos,
           kCorrupt, file.path().string(), ": metadata '", key, "' must be a whole number");
  return std::stoll(it->second);
}

}  // namespace

void StatisticsConfig::validate() const {
  GM_CHECK(num_sequences >= 0, kInvalidArgument,
           "statistics: num_sequences must not be negative, got ", num_sequences);
  GM_CHECK(first_sequence >= 0, kInvalidArgument,
           "statistics: first_sequence must not be negative, got ", first_sequence);
}

Statistics compute_statistics(const StatisticsConfig& config, const Model& model,
                              BatchSource& source, Communicator& comm) {
  config.validate();
  GM_CHECK(source.vocab_size() <= model.config.vocab_size, kMismatch,
           "statistics: the corpus uses a vocabulary of ", source.vocab_size(),
           " tokens, the model has ", model.config.vocab_size);
  Statistics out;
  // An error of one rank ends all: the others would wait in all_reduce.
  run_agreed(comm, [&] { out = local_sums(config, model, source, comm); });
  for (const auto& [name, tensor] : out.fisher) {
    comm.all_reduce(tensor, ReduceOp::kSum);
  }
  comm.all_reduce(out.token_counts, ReduceOp::kSum);
  const at::Tensor totals = at::zeros({2}, at::ScalarType::Long);
  totals.data_ptr<std::int64_t>()[0] = out.num_sequences;
  totals.data_ptr<std::int64_t>()[1] = out.num_tokens;
  comm.all_reduce(totals, ReduceOp::kSum);
  out.num_sequences = totals.const_data_ptr<std::int64_t>()[0];
  out.num_tokens = totals.const_data_ptr<std::int64_t>()[1];
  GM_CHECK(out.num_sequences > 0, kInvalidArgument,
           "statistics: none of the sequences has a target token");
  check_finite(out.fisher);
  // Sums become means, and float32, which is what a merge reads.
  ParamMap fisher;
  for (const auto& [name, tensor] : out.fisher) {
    tensor.div_(static_cast<double>(out.num_sequences));
    fisher.set(name, tensor.to(at::ScalarType::Float));
  }
  out.fisher = fisher;
  return out;
}

void save_statistics(const std::filesystem::path& dir, const Statistics& statistics,
                     const StatisticsOrigin& origin) {
  const std::map<std::string, std::string> metadata = metadata_of(statistics, origin);
  save_safetensors(dir / "fisher.safetensors", statistics.fisher, metadata);
  ParamMap counts;
  counts.set("token_counts", statistics.token_counts);
  save_safetensors(dir / "token_counts.safetensors", counts, metadata);
}

Statistics load_statistics(const std::filesystem::path& dir) {
  const SafetensorsFile file = SafetensorsFile::open(dir / "fisher.safetensors");
  const auto version = file.metadata().find("format_version");
  GM_CHECK(version != file.metadata().end() && version->second == kVersion, kCorrupt,
           file.path().string(), ": metadata 'format_version' must be '", kVersion, "', got '",
           version == file.metadata().end() ? "" : version->second,
           "'; statistics are made by `growmerge stats`");
  Statistics out;
  out.num_sequences = metadata_count(file, "num_sequences");
  out.num_tokens = metadata_count(file, "num_tokens");
  for (const TensorInfo& info : file.tensors()) {
    out.fisher.set(info.name, file.load(info.name));
  }
  out.token_counts = SafetensorsFile::open(dir / "token_counts.safetensors").load("token_counts");
  return out;
}

}  // namespace growmerge::merging
