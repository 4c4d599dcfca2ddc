// Models that a config names as the Hugging Face hub does (core/store/hub_cache.h).
#pragma once

#include <span>
#include <string>

#include "core/base/config.h"

namespace growmerge::launch {

/// `path`, or where the model of that name lies in this user's cache ($HF_HUB_CACHE, else
/// $HF_HOME/hub, else ~/.cache/huggingface/hub). Errors: those of resolve_hub_path().
[[nodiscard]] std::string local_model_path(const std::string& path);

/// Puts local_model_path() of every input (FieldVisitor::kInput) in its place.
void find_hub_inputs(const DescribeFn& describe);
/// The same of a config that no struct describes; inputs are the scalars of these keys.
void find_hub_inputs(YamlNode& node, std::span<const std::string> input_keys);

}  // namespace growmerge::launch
