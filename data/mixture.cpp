#include "data/mixture.h"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

void validate_source(const MixtureSource& source, std::size_t index) {
  const std::string where =
      concat("sources.", index, source.path.empty() ? "" : " (" + source.path + ")");
  GM_CHECK(!source.path.empty(), kInvalidArgument, where, ": path is missing");
  GM_CHECK(source.weight.has_value() != source.epochs.has_value(), kInvalidArgument, where,
           source.weight ? ": has both weight and epochs" : ": has neither weight nor epochs",
           "; give exactly one");
  const double value = source.weight ? *source.weight : *source.epochs;
  GM_CHECK(std::isfinite(value) && value > 0.0, kInvalidArgument, where, ": ",
           source.weight ? "weight" : "epochs", " must be a number above 0, got ", value);
}

}  // namespace

void MixtureConfig::validate() const {
  GM_CHECK(!sources.empty(), kInvalidArgument, "sources: a mixture needs at least one source");
  GM_CHECK(row_tokens >= 2, kInvalidArgument, "row_tokens: must be at least 2, got ", row_tokens);
  double weights = 0.0;
  bool any_epochs = false;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    validate_source(sources[i], i);
    weights += sources[i].weight.value_or(0.0);
    any_epochs = any_epochs || sources[i].epochs.has_value();
  }
  // Sources with epochs take what weights leave of the stream, so they must leave something.
  GM_CHECK(!any_epochs || weights < 1.0, kInvalidArgument, "sources: weights sum to ", weights,
           ", but beside sources with epochs they are shares of the whole stream and must sum to "
           "less than 1");
}

std::vector<std::string> shard_languages(const std::filesystem::path& dir) {
  std::vector<std::string> languages;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (entry.path().extension() == ".h5") {
      languages.push_back(entry.path().stem().string());
    }
  }
  GM_CHECK(!error, kIo, dir.string(), ": cannot list: ", error.message());
  // Directory order differs from machine to machine, and messages quote these.
  std::sort(languages.begin(), languages.end());
  return languages;
}

std::filesystem::path find_shard(const std::filesystem::path& path, const std::string& language) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) {
    GM_CHECK(std::filesystem::exists(path, ignored), kNotFound, path.string(),
             ": no such token shard or directory: run `growmerge tokenize` first");
    return path;
  }
  const std::vector<std::string> languages = shard_languages(path);
  std::string known;
  for (const std::string& name : languages) {
    known += (known.empty() ? "" : ", ") + name;
  }
  GM_CHECK(!languages.empty(), kNotFound, path.string(),
           ": holds no token shard (*.h5): run `growmerge tokenize` first");
  // One shard can only be the one that is meant; among several, guessing would train on another
  // language.
  if (language.empty()) {
    GM_CHECK(languages.size() == 1, kInvalidArgument, path.string(), ": holds several languages (",
             known, "): say which with `language`");
    return path / (languages[0] + ".h5");
  }
  GM_CHECK(std::find(languages.begin(), languages.end(), language) != languages.end(), kNotFound,
           path.string(), ": no shard of language '", language, "'; there are: ", known);
  return path / (language + ".h5");
}

}  // namespace growmerge::data
