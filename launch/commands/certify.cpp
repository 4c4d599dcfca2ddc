// growmerge certify: does a grown checkpoint compute what its source computes? For any pair.
#include <cstdio>
#include <fstream>

#include "core/base/error.h"
#include "core/base/format.h"
#include "core/model/model_source.h"
#include "core/tokenizer/tokenizer.h"
#include "core/transformer/transformer.h"
#include "launch/commands/commands.h"
#include "upscaling/certificate.h"

namespace growmerge::launch {
namespace {

struct CertifyConfig {
  std::string source;
  std::string grown;
  std::string text;
  upscaling::CertificateConfig certificate;

  void describe(FieldVisitor& v) {
    v("source", source, "", "checkpoint that was grown");
    v("grown", grown, "", "checkpoint that should compute the same");
    v("text", text, "",
      "text file whose beginning (num_sequences x sequence_tokens tokens of the source's "
      "tokenizer) is compared on as well");
    certificate.describe(v);
  }
  void validate() const {
    GM_CHECK(!source.empty() && !grown.empty(), kInvalidArgument,
             "certify: two checkpoints are needed: growmerge certify SOURCE GROWN");
    certificate.validate();
  }
};

/// The first tokens of the text, in sequences.
upscaling::TokenSequences text_sequences(const CertifyConfig& config) {
  const auto length = static_cast<std::size_t>(config.certificate.sequence_tokens);
  const std::size_t wanted = length * static_cast<std::size_t>(config.certificate.num_sequences);
  std::ifstream file(config.text, std::ios::binary);
  GM_CHECK(file.good(), kNotFound, "certify: cannot read text '", config.text, "'");
  // The text may be huge; its beginning is enough, read by size because tokens are not known yet.
  std::string text(16 * wanted, '\0');  // more bytes than most tokens have
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (!file.eof()) {  // no part of a character at the end
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0U) == 0x80U) {
      text.pop_back();
    }
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0U) {
      text.pop_back();
    }
  }
  const Tokenizer tokenizer = Tokenizer::load(config.source);
  upscaling::TokenSequences out;
  for (const std::int32_t token : tokenizer.encode(text, false)) {
    if (out.empty() || out.back().size() == length) {
      if (out.size() == static_cast<std::size_t>(config.certificate.num_sequences)) {
        break;
      }
      out.emplace_back();
    }
    out.back().push_back(token);
  }
  if (!out.empty() && out.back().size() < 2) {
    out.pop_back();
  }
  GM_CHECK(!out.empty(), kInvalidArgument, "certify: text '", config.text,
           "' holds less than 2 tokens");
  return out;
}

void print_estimate(const CertifyConfig& config) {
  const auto bytes = static_cast<double>(upscaling::certificate_bytes(
      load_model_config(config.source), load_model_config(config.grown), config.certificate,
      CheckpointReader::open(config.grown).dtype()));
  std::printf("compares  %s with %s, writes nothing\nmemory    about %s\n", config.grown.c_str(),
              config.source.c_str(), format_bytes(kProcessBytes + bytes).c_str());
}

upscaling::Certificate make_certificate(const CertifyConfig& config) {
  const ModelSource source = source_of(config.source, at::ScalarType::Float);
  // Each in the precision it is used in: rounding the grown one up would hide its own error.
  const ModelSource grown = source_of(config.grown, CheckpointReader::open(config.grown).dtype());
  upscaling::TokenSequences sequences =
      upscaling::random_sequences(config.certificate, source.config.vocab_size);
  if (!config.text.empty()) {
    const upscaling::TokenSequences samples = text_sequences(config);
    sequences.insert(sequences.end(), samples.begin(), samples.end());
  }
  return upscaling::certify_growth(source, grown, config.certificate, sequences);
}

int certify(const CommandLine& line) {
  GM_CHECK(line.out.empty(), kInvalidArgument, "'certify' prints its certificate and has no --out");
  const auto config =
      load_stage_config<CertifyConfig>(load_command_config(certify_command(), line));
  if (line.print_config) {
    std::fputs(dump_config(config).c_str(), stdout);
    return 0;
  }
  if (line.dry_run) {
    print_estimate(config);
    return 0;
  }
  const upscaling::Certificate certificate = make_certificate(config);
  std::fputs(certificate.json().c_str(), stdout);
  GM_CHECK(certificate.passed(), kMismatch, "certify: ", config.grown, " does not compute what ",
           config.source, " computes: ", certificate.failure());
  return 0;
}

}  // namespace

Command certify_command() {
  Command out;
  out.name = "certify";
  out.doc = "compare a grown checkpoint with its source: prints the growth certificate";
  out.usage = "SOURCE GROWN [--config FILE] [--set text=FILE]";
  out.describe = [](FieldVisitor& v) {
    CertifyConfig config;
    config.describe(v);
  };
  out.run = certify;
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    GM_CHECK(paths.empty() || paths.size() == 2, kInvalidArgument,
             "'certify' takes two checkpoints, SOURCE and GROWN, got ", paths.size());
    if (!paths.empty()) {
      set_scalar(config, "source", paths[0]);
      set_scalar(config, "grown", paths[1]);
    }
  };
  return out;
}

}  // namespace growmerge::launch
