#include "upscaling/certificate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/model/families.h"
#include "core/model/tensor_table.h"
#include "core/store/safetensors.h"
#include "core/transformer/streamed.h"
#include "core/transformer/transformer.h"

namespace growmerge::upscaling {
namespace {

constexpr std::array<at::ScalarType, 3> kPrecisions = {
    at::ScalarType::Double, at::ScalarType::Float, at::ScalarType::BFloat16};
// Differences of mean NLL that are always allowed, in the same order.
constexpr std::array<double, 3> kLossFloor = {1e-10, 1e-6, 2e-3};
// The mean of N rounding errors may be near 0 by luck; sqrt(sum of squares) / N is its scale.
constexpr double kStandardErrors = 4.0;

/// A model's final states of all sequences in one precision, and what makes logits of them.
class Pass {
 public:
  Pass(const ModelSource& model, at::ScalarType dtype, const TokenSequences& sequences)
      : config_(&model.config) {
    std::vector<std::int64_t> tokens;
    for (const std::vector<std::int64_t>& sequence : sequences) {
      starts_.push_back(static_cast<std::int32_t>(tokens.size()));
      tokens.insert(tokens.end(), sequence.begin(), sequence.end());
    }
    starts_.push_back(static_cast<std::int32_t>(tokens.size()));
    const at::Tensor packed = at::from_blob(
        tokens.data(), {static_cast<std::int64_t>(tokens.size())}, at::ScalarType::Long);
    pass_ = streamed_hidden_states(model, dtype, packed, starts_);
  }

  /// [T, V] of one sequence in float64.
  [[nodiscard]] at::Tensor logits(std::size_t sequence) const {
    const at::Tensor hidden =
        pass_.hidden.narrow(0, starts_[sequence], starts_[sequence + 1] - starts_[sequence]);
    return head_logits(*config_, pass_.outer, hidden).to(at::ScalarType::Double).contiguous();
  }

 private:
  const ModelConfig* config_;
  std::vector<std::int32_t> starts_;
  StreamedPass pass_;
};

// NLL of each next token of a sequence, float64.
std::vector<double> next_token_nll(const at::Tensor& logits_TV,
                                   const std::vector<std::int64_t>& sequence) {
  const std::int64_t vocab = logits_TV.size(1);
  std::vector<double> out;
  for (std::size_t t = 0; t + 1 < sequence.size(); ++t) {
    const double* row = logits_TV.const_data_ptr<double>() + static_cast<std::int64_t>(t) * vocab;
    // The largest logit is subtracted, so that no exponential overflows.
    const double peak = *std::max_element(row, row + vocab);
    double total = 0.0;
    for (std::int64_t i = 0; i < vocab; ++i) {
      total += std::exp(row[i] - peak);
    }
    out.push_back(peak + std::log(total) - row[sequence[t + 1]]);
  }
  return out;
}

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// NaN where either side is not finite.
double max_difference(const at::Tensor& a, const at::Tensor& b) {
  const double* x = a.const_data_ptr<double>();
  const double* y = b.const_data_ptr<double>();
  double worst = 0.0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double difference = std::abs(x[i] - y[i]);
    // Asked by name: a NaN loses every comparison, and the maximum would pass it by.
    if (!std::isfinite(difference)) {
      return std::nan("");
    }
    worst = std::max(worst, difference);
  }
  return worst;
}

double sum_of_squares(const at::Tensor& a) {
  const double* x = a.const_data_ptr<double>();
  double sum = 0.0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    sum += x[i] * x[i];
  }
  return sum;
}

double larger(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? std::nan("") : std::max(a, b);
}

// What is measured of the pair in each precision, before tolerances.
struct Measured {
  std::array<double, 3> difference = {};    // grown against source
  std::array<double, 3> source_error = {};  // source against the next higher precision
  std::array<double, 3> source_nll = {};
  std::array<double, 3> grown_nll = {};
  std::array<double, 3> nll_error_squares = {};  // of the source's tokens, as source_error
  double logit_squares = 0.0;
  std::int64_t num_logits = 0;
  std::int64_t num_targets = 0;
};

Measured measure(const ModelSource& source, const ModelSource& grown,
                 const TokenSequences& sequences) {
  Measured out;
  std::optional<Pass> higher;  // the source, one precision up: its logits are made again, not kept
  for (std::size_t p = 0; p < kPrecisions.size(); ++p) {
    Pass a(source, kPrecisions[p], sequences);
    const Pass b(grown, kPrecisions[p], sequences);
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const at::Tensor x = a.logits(s);
      const at::Tensor y = b.logits(s);
      out.difference[p] = larger(out.difference[p], max_difference(x, y));
      const std::vector<double> nll = next_token_nll(x, sequences[s]);
      out.source_nll[p] += sum_of(nll);
      out.grown_nll[p] += sum_of(next_token_nll(y, sequences[s]));
      // float64 is what the others are measured against and has nothing above it.
      if (p == 0) {
        out.logit_squares += sum_of_squares(x);
        out.num_logits += x.numel();
        out.num_targets += static_cast<std::int64_t>(sequences[s].size()) - 1;
      } else {
        const at::Tensor above = higher->logits(s);
        const std::vector<double> above_nll = next_token_nll(above, sequences[s]);
        out.source_error[p] = larger(out.source_error[p], max_difference(x, above));
        for (std::size_t t = 0; t < nll.size(); ++t) {
          const double error = nll[t] - above_nll[t];
          out.nll_error_squares[p] += error * error;
        }
      }
    }
    higher.emplace(std::move(a));
  }
  // Sums become means only now: sequences may differ in length.
  for (std::size_t p = 0; p < kPrecisions.size(); ++p) {
    out.source_nll[p] /= static_cast<double>(out.num_targets);
    out.grown_nll[p] /= static_cast<double>(out.num_targets);
  }
  return out;
}

void check_sequences(const ModelSource& source, const ModelSource& grown,
                     const TokenSequences& sequences) {
  GM_CHECK(source.config.vocab_size == grown.config.vocab_size, kMismatch,
           "growth certificate: the source has ", source.config.vocab_size,
           " tokens in its vocabulary, the grown model ", grown.config.vocab_size);
  GM_CHECK(grown.config.hidden_size % source.config.hidden_size == 0, kMismatch,
           "growth certificate: the grown model's width ", grown.config.hidden_size,
           " is no multiple of the source's ", source.config.hidden_size,
           ": is the source named first?");
  GM_CHECK(!sequences.empty(), kInvalidArgument, "growth certificate: no token sequence to run on");
  for (const std::vector<std::int64_t>& sequence : sequences) {
    GM_CHECK(sequence.size() >= 2, kInvalidArgument,
             "growth certificate: a sequence needs at least 2 tokens, got ", sequence.size());
    for (const std::int64_t token : sequence) {
      GM_CHECK(token >= 0 && token < source.config.vocab_size, kMismatch,
               "growth certificate: token id ", token, " is outside the vocabulary of ",
               source.config.vocab_size);
    }
  }
}

/// Half a unit in the last place, relative.
double unit_roundoff(at::ScalarType dtype) {
  switch (dtype) {
    case at::ScalarType::Double:
      return 0x1p-53;
    case at::ScalarType::BFloat16:
      return 0x1p-8;
    default:
      return 0x1p-24;
  }
}

/// Rounding below the normal numbers is absolute.
constexpr double kTiny = 1.2e-38;

/// Keeps the worst row: of differences over what rounding allows.
void note_row(RowCheck& check, std::int64_t row, double difference, double allowed) {
  const double excess = difference / (allowed + kTiny);
  if (std::isnan(check.excess) || excess <= check.excess) {
    return;
  }
  check.excess = excess;  // also when it is NaN
  check.worst_row = row;
}

/// Calls fn(row, source row, grown row) for all rows of two matrices, in float64.
template <class Fn>
void for_each_row(const at::Tensor& source, const at::Tensor& grown, Fn&& fn) {
  // A vocabulary's rows need never lie in float64 all at once.
  constexpr std::int64_t kRows = 1024;  // converted at a time
  for (std::int64_t begin = 0; begin < source.size(0); begin += kRows) {
    const std::int64_t rows = std::min(kRows, source.size(0) - begin);
    const at::Tensor a = source.narrow(0, begin, rows).to(at::ScalarType::Double).contiguous();
    const at::Tensor b = grown.narrow(0, begin, rows).to(at::ScalarType::Double).contiguous();
    for (std::int64_t row = 0; row < rows; ++row) {
      fn(begin + row, a.const_data_ptr<double>() + row * a.size(1),
         b.const_data_ptr<double>() + row * b.size(1));
    }
  }
}

RowCheck check_embedding(const ModelSource& source, const ModelSource& grown) {
  const at::Tensor narrow = source.load(tensor_name(Role::kEmbedding));
  const at::Tensor wide = grown.load(tensor_name(Role::kEmbedding));
  const double rounding = unit_roundoff(wide.scalar_type());
  const std::int64_t d = narrow.size(1);
  // As blocks see it: multiplied, where the model multiplies its embedding.
  const double from = source.config.embedding_scale();
  const double to = grown.config.embedding_scale();
  RowCheck out{.tensor = "embedding", .num_rows = narrow.size(0)};
  for_each_row(narrow, wide, [&](std::int64_t row, const double* a, const double* b) {
    for (std::int64_t i = 0; i < wide.size(1); ++i) {
      // Column i of the grown row belongs to column i mod d of the source's: whole copies side by
      // side.
      const double expected = a[i % d] * from;
      const double scales = from == to ? 0.0 : 0x1p-23;  // both are rounded to float32
      note_row(out, row, std::abs(b[i] * to - expected), (rounding + scales) * std::abs(expected));
    }
  });
  out.passed = out.excess <= 1.0;
  return out;
}

/// Gain of the final norm over what logits are divided by, float64 [d].
at::Tensor head_scale(const ModelSource& model) {
  return model.load(tensor_name(Role::kFinalNorm))
      .to(at::ScalarType::Double)
      .add(family_of(model.config).gain_offset)
      .div(model.config.head_divisor())
      .contiguous();
}

RowCheck check_head(const ModelSource& source, const ModelSource& grown) {
  const auto head = [](const ModelSource& m) { return m.load(head_tensor_name(m.config)); };
  const at::Tensor narrow = head(source);
  const at::Tensor wide = head(grown);
  const at::Tensor narrow_scale = head_scale(source);
  const at::Tensor wide_scale = head_scale(grown);
  const double* s = narrow_scale.const_data_ptr<double>();
  const double* t = wide_scale.const_data_ptr<double>();
  const std::int64_t d = narrow.size(1);
  // Each product has two rounded factors; their product and the float64 sums get the third.
  const double rounding = 2.0 * unit_roundoff(wide.scalar_type()) +
                          unit_roundoff(grown.load(tensor_name(Role::kFinalNorm)).scalar_type()) +
                          0x1p-48;
  RowCheck out{.tensor = "head", .num_rows = narrow.size(0)};
  for_each_row(narrow, wide, [&](std::int64_t row, const double* a, const double* b) {
    for (std::int64_t i = 0; i < d; ++i) {
      double sum = 0.0;
      // Rounding is relative to the terms and not to their sum, in which they may cancel.
      double size = std::abs(a[i] * s[i]);
      for (std::int64_t j = i; j < wide.size(1); j += d) {
        sum += b[j] * t[j];
        size += std::abs(b[j] * t[j]);
      }
      note_row(out, row, std::abs(sum - a[i] * s[i]), rounding * size);
    }
  });
  out.passed = out.excess <= 1.0;
  return out;
}

}  // namespace

void CertificateConfig::validate() const {
  GM_CHECK(num_sequences >= 1, kInvalidArgument,
           "certificate: num_sequences must be at least 1, got ", num_sequences);
  GM_CHECK(sequence_tokens >= 2, kInvalidArgument,
           "certificate: sequence_tokens must be at least 2, got ", sequence_tokens);
  for (const double tolerance : {f64_tolerance, f32_tolerance, f32_factor, bf16_factor}) {
    GM_CHECK(std::isfinite(tolerance) && tolerance >= 0.0, kInvalidArgument,
             "certificate: tolerances must be finite and not negative, got ", tolerance);
  }
}

bool Certificate::passed() const {
  const auto good = [](const auto& c) { return c.passed; };
  return !checks.empty() && !rows.empty() && std::all_of(checks.begin(), checks.end(), good) &&
         std::all_of(rows.begin(), rows.end(), good);
}

std::string Certificate::failure() const {
  for (const PrecisionCheck& check : checks) {
    if (!check.passed) {
      return concat("in ", check.arithmetic, " the logits differ by up to ", check.logit_difference,
                    " (allowed ", check.logit_tolerance, ", their rms is ", logit_rms,
                    ") and the mean NLL is ", check.grown_loss, " instead of ", check.source_loss,
                    " (allowed difference ", check.loss_tolerance, ")");
    }
  }
  for (const RowCheck& check : rows) {
    if (!check.passed) {
      return concat("the ", check.tensor, " row of token ", check.worst_row,
                    " is not the source's: it differs by ", check.excess,
                    " times what rounding allows");
    }
  }
  return "";
}

std::string Certificate::json() const {
  nlohmann::ordered_json out;
  out["format_version"] = kVersion;
  out["passed"] = passed();
  out["written_dtype"] = written_dtype;
  out["num_sequences"] = num_sequences;
  out["num_tokens"] = num_tokens;
  out["logit_rms"] = logit_rms;
  for (const PrecisionCheck& check : checks) {
    out["checks"].push_back({{"arithmetic", check.arithmetic},
                             {"passed", check.passed},
                             {"logit_difference", check.logit_difference},
                             {"logit_tolerance", check.logit_tolerance},
                             {"source_error", check.source_error},
                             {"source_loss", check.source_loss},
                             {"grown_loss", check.grown_loss},
                             {"loss_tolerance", check.loss_tolerance}});
  }
  for (const RowCheck& check : rows) {
    out["rows"].push_back({{"tensor", check.tensor},
                           {"passed", check.passed},
                           {"num_rows", check.num_rows},
                           {"worst_row", check.worst_row},
                           {"excess", check.excess}});
  }
  return out.dump(2) + "\n";
}

TokenSequences random_sequences(const CertificateConfig& config, std::int64_t vocab_size) {
  config.validate();
  const Philox random(static_cast<std::uint64_t>(config.seed), stream_id("certificate-tokens"));
  TokenSequences out(static_cast<std::size_t>(config.num_sequences));
  std::uint64_t position = 0;
  for (std::vector<std::int64_t>& sequence : out) {
    for (std::int64_t i = 0; i < config.sequence_tokens; ++i) {
      sequence.push_back(static_cast<std::int64_t>(
          random.below(position++, static_cast<std::uint64_t>(vocab_size))));
    }
  }
  return out;
}

Certificate certify_growth(const ModelSource& source, const ModelSource& grown,
                           const CertificateConfig& config, const TokenSequences& sequences) {
  config.validate();
  check_sequences(source, grown, sequences);
  const Measured measured = measure(source, grown, sequences);
  Certificate out;
  const at::ScalarType dtype = grown.load(tensor_name(Role::kEmbedding)).scalar_type();
  out.written_dtype = dtype_name(dtype);
  out.num_sequences = static_cast<std::int64_t>(sequences.size());
  out.num_tokens = measured.num_targets + out.num_sequences;
  out.logit_rms = std::sqrt(measured.logit_squares / static_cast<double>(measured.num_logits));
  const std::array<double, 3> tolerance = {
      config.f64_tolerance * out.logit_rms,
      std::max(config.f32_factor * measured.source_error[1], config.f32_tolerance * out.logit_rms),
      config.bf16_factor * measured.source_error[2]};
  const std::array<double, 3> factor = {0.0, config.f32_factor, config.bf16_factor};
  std::size_t coarsest = 0;  // the precision that the grown weights were rounded to
  while (coarsest + 1 < kPrecisions.size() && kPrecisions[coarsest] != dtype) {
    ++coarsest;
  }
  for (std::size_t p = 0; p < kPrecisions.size(); ++p) {
    // Weights that were rounded to a precision cannot agree better than that, however exactly they
    // are computed with.
    const std::size_t allowed = std::max(p, coarsest);
    double loss_error = 0.0;
    if (allowed > 0) {
      const double own = measured.source_nll[allowed] - measured.source_nll[allowed - 1];
      loss_error =
          std::max(std::abs(own), kStandardErrors * std::sqrt(measured.nll_error_squares[allowed]) /
                                      static_cast<double>(measured.num_targets));
    }
    PrecisionCheck check;
    check.arithmetic = dtype_name(kPrecisions[p]);
    check.logit_difference = measured.difference[p];
    check.logit_tolerance = tolerance[allowed];
    check.source_error = measured.source_error[p];
    check.source_loss = measured.source_nll[p];
    check.grown_loss = measured.grown_nll[p];
    check.loss_tolerance = std::max(kLossFloor[allowed], factor[allowed] * loss_error);
    check.passed = check.logit_difference <= check.logit_tolerance &&
                   std::abs(check.grown_loss - check.source_loss) <= check.loss_tolerance;
    out.checks.push_back(check);
  }
  out.rows = {check_embedding(source, grown), check_head(source, grown)};
  return out;
}

std::int64_t certificate_bytes(const ModelConfig& source, const ModelConfig& grown,
                               const CertificateConfig& config, at::ScalarType written) {
  // The first precision is the widest; its pass of the source leaves no layer behind.
  const std::int64_t source_outer = streamed_bytes(source, at::ScalarType::Double, written);
  const std::int64_t logits = 3 * 8 * config.sequence_tokens * grown.vocab_size;
  const std::int64_t positions = config.num_sequences * config.sequence_tokens;
  return source_outer + streamed_bytes(grown, at::ScalarType::Double, written) +
         std::max(logits, inference_bytes(grown, positions, at::ScalarType::Double));
}

}  // namespace growmerge::upscaling
