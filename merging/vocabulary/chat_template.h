// The chat template that a recipe names: mergekit's `chat_template`.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "core/base/yaml.h"

namespace growmerge::merging {

/// "auto", or the Jinja text: as it stands, or that of the format of this name (chatml, llama3,
/// mistral, alpaca). Errors: kUnsupported for any other word.
[[nodiscard]] std::string chat_template_text(const YamlNode& node);

/// The template of a model's directory; nothing where it has none.
[[nodiscard]] std::optional<std::string> read_chat_template(const std::filesystem::path& dir);

/// The one that most of the models have, the first of them where several are as frequent.
[[nodiscard]] std::optional<std::string> most_common_template(
    std::span<const std::filesystem::path> models);

}  // namespace growmerge::merging
