#include "launch/hub_inputs.h"

#include <algorithm>

#include "core/store/hub_cache.h"
#include "launch/process.h"

namespace growmerge::launch {
namespace {

class HubVisitor : public FieldVisitor {
 private:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    if (info.use != FieldUse::kInput) {
      return;
    }
    if (auto* const* path = std::get_if<std::string*>(&member)) {
      **path = local_model_path(**path);
    } else if (auto* const* optional = std::get_if<std::optional<std::string>*>(&member)) {
      if ((*optional)->has_value()) {
        **optional = local_model_path(***optional);
      }
    } else if (auto* const* list = std::get_if<std::vector<std::string>*>(&member)) {
      for (std::string& entry : **list) {
        entry = local_model_path(entry);
      }
    }
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    describe(*this);
  }
  void list(const FieldInfo& info, const ListRef& member) override {
    for (std::size_t i = 0; i < member.size(); ++i) {
      member.describe(i, *this);
    }
  }
};

}  // namespace

std::string local_model_path(const std::string& path) {
  return resolve_hub_path(path, hub_cache_dir());
}

void find_hub_inputs(const DescribeFn& describe) {
  HubVisitor visitor;
  describe(visitor);
}

void find_hub_inputs(YamlNode& node, std::span<const std::string> input_keys) {
  for (auto& [key, value] : node.entries) {
    const bool is_input = std::find(input_keys.begin(), input_keys.end(), key) != input_keys.end();
    if (is_input && value.is_scalar()) {
      value.scalar = local_model_path(value.scalar);
    } else {
      find_hub_inputs(value, input_keys);
    }
  }
  for (YamlNode& item : node.items) {
    find_hub_inputs(item, input_keys);
  }
}

}  // namespace growmerge::launch
