#include "launch/input_watch.h"

#include <filesystem>

#include "core/base/error.h"
#include "launch/stage_identity.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

/// The first file whose stamp differs, and how.
std::string first_change(const std::map<std::string, FileStamp>& before,
                         const std::map<std::string, FileStamp>& now) {
  for (const auto& [file, stamp] : before) {
    const auto it = now.find(file);
    if (it == now.end()) {
      return "'" + file + "' is gone";
    }
    if (!(it->second == stamp)) {
      return "'" + file + "' was written to";
    }
  }
  for (const auto& [file, stamp] : now) {
    if (before.count(file) == 0) {
      return "'" + file + "' is new";
    }
  }
  return "";
}

}  // namespace

InputWatch::Stamps InputWatch::stamps_of(const StageInput& input) {
  Stamps out;
  const fs::path path = without_trailing_slash(input.path);
  const auto add = [&out](const fs::path& file) {
    // One that vanishes between the listing and this is gone.
    if (fs::exists(file)) {
      out.emplace(file.string(), stamp_of(file));
    }
  };
  if (fs::is_directory(path)) {
    for (const std::string& file : visible_files(path)) {
      add(path / file);
    }
  } else if (!input.list_files) {
    add(path);
  } else {
    for (const fs::path& file : input.list_files()) {
      add(file);
    }
  }
  return out;
}

InputWatch::InputWatch(const StagePlan& plan) {
  for (const StageInput& input : plan.inputs) {
    before_.push_back(stamps_of(input));
  }
}

void InputWatch::check(const StagePlan& plan, const Manifest& manifest) const {
  for (std::size_t i = 0; i < before_.size(); ++i) {
    const StageInput& input = plan.inputs[i];
    std::string change;
    try {
      change = first_change(before_[i], stamps_of(input));
      const std::string& identity = manifest.inputs[i].identity;
      if (!change.empty() && !identity.empty() && input_identity(input) == identity) {
        change.clear();
      }
    } catch (const Error& e) {  // what cannot be read any more is not what it was, either
      change += (change.empty() ? "" : "; ") + std::string(e.what());
    }
    GM_CHECK(change.empty(), kIo, "input '", input.role, "' (", input.path,
             ") changed while this stage read it: ", change,
             "; nothing was published. Run the stage again when its inputs rest");
  }
}

}  // namespace growmerge::launch
