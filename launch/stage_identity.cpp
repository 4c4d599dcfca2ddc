#include "launch/stage_identity.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <tuple>

#include "core/base/error.h"
#include "core/store/hashes.h"
#include "core/store/hub_cache.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

/// The fields as lines "key: value". An input's path is shown as the role under which its identity
/// counts.
std::string config_lines(const StagePlan& plan) {
  std::vector<bool> taken(plan.inputs.size(), false);
  std::string out;
  for (const DescribedField& field : plan.fields) {
    std::string value = field.value;
    if (field.use == FieldUse::kInput) {
      // Two inputs may lie in one place today and in two tomorrow: each field takes one of its own.
      std::size_t at = 0;
      while (at < taken.size() && (taken[at] || plan.inputs[at].path != field.value)) {
        ++at;
      }
      if (at < taken.size()) {
        taken[at] = true;
        value = "<" + plan.inputs[at].role + ">";
      } else {
        // The plan does not read it (a new model's settings where another is continued), so that
        // no identity stands for it; its text does, lest a change go unseen.
        value = yaml_quote(field.value);
      }
    }
    out += field.key + ": " + value + "\n";
  }
  return out;
}

std::string describe_config_change(const std::string& finished, const std::string& planned) {
  const std::vector<std::string> before = config_fields(finished);
  const std::vector<std::string> after = config_fields(planned);
  std::string out;
  int shown = 0;
  for (const auto& [from, to, sign] :
       {std::tie(before, after, "-"), std::tie(after, before, "+")}) {
    for (const std::string& line : from) {
      if (std::find(to.begin(), to.end(), line) == to.end() && shown++ < 12) {
        out += std::string("  config ") + sign + " " + line + "\n";
      }
    }
  }
  return out;
}

const InputRecord* find_role(const Manifest& manifest, const std::string& role) {
  const auto found = std::find_if(manifest.inputs.begin(), manifest.inputs.end(),
                                  [&](const InputRecord& input) { return input.role == role; });
  return found == manifest.inputs.end() ? nullptr : &*found;
}

std::string describe_input_change(const Manifest& finished, const Manifest& planned) {
  std::string out;
  for (const InputRecord& input : planned.inputs) {
    const InputRecord* old = find_role(finished, input.role);
    if (old == nullptr) {
      out += "  input '" + input.role + "' is new: " + input.path + "\n";
    } else if (old->identity != input.identity) {
      out += "  input '" + input.role + "' has changed: " + input.path +
             (old->path != input.path ? " (was " + old->path + ")" : "") + "\n";
    }
  }
  for (const InputRecord& input : finished.inputs) {
    if (find_role(planned, input.role) == nullptr) {
      out += "  input '" + input.role + "' is gone: " + input.path + "\n";
    }
  }
  return out;
}

std::string input_context(const StagePlan& plan, const StageInput& input) {
  return (input.named_at.empty() ? "" : input.named_at + ": ") + "input '" + input.role +
         "' of stage '" + plan.stage + "'";
}

/// Of what has a name on the hub: anything else that looks like ORG/NAME is a path that is wrong.
bool is_model(const StageInput& input) {
  return input.role == "base" || input.role == "source" || input.role == "tokenizer" ||
         input.role.starts_with("model");
}

std::string identity_in_context(const StagePlan& plan, const StageInput& input,
                                const std::function<std::string(const StageInput&)>& identify) {
  return with_context(input_context(plan, input), [&] {
    try {
      return identify(input);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::kNotFound || !is_model(input) || fs::exists(input.path)) {
        throw;
      }
      throw Error(e.code(), e.what() + missing_model_advice(input.path));
    }
  });
}

}  // namespace

std::string input_identity(const StageInput& input) {
  // A finished stage's directory is one thing with one identity, however a reader goes through it.
  if (!input.list_files || read_manifest(input.path)) {
    return path_identity(input.path);
  }
  std::string all;
  for (const fs::path& file : input.list_files()) {
    all += file.filename().string() + " " + path_identity(file) + "\n";
  }
  return hash_bytes(all.data(), all.size());
}

Manifest manifest_of(const StagePlan& plan, std::span<const std::string> identities) {
  GM_ASSERT(identities.size() == plan.inputs.size());
  // A config whose fields nobody lists would be the same whatever it says.
  GM_ASSERT(!plan.fields.empty() || plan.config.empty());
  Manifest out;
  out.stage = plan.stage;
  out.config = config_lines(plan);
  out.seed = plan.seed;
  bool known = true;
  for (std::size_t i = 0; i < identities.size(); ++i) {
    out.inputs.push_back({plan.inputs[i].role, plan.inputs[i].path, identities[i]});
    known = known && !identities[i].empty();
  }
  if (known) {
    out.identity = stage_identity(out);
  }
  return out;
}

Manifest manifest_to_come(const StagePlan& plan) {
  for (const StageInput& input : plan.inputs) {
    (void)identity_in_context(plan, input, [](const StageInput& one) {
      check_has_identity(one.path);
      return std::string();
    });
  }
  return manifest_of(plan, std::vector<std::string>(plan.inputs.size()));
}

Manifest planned_manifest(const StagePlan& plan) {
  std::vector<std::string> identities(plan.inputs.size());
  // Hashing inputs is most of what a merge reads, so threads share it.
  at::parallel_for(0, static_cast<std::int64_t>(identities.size()), 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (auto i = static_cast<std::size_t>(begin);
                          i < static_cast<std::size_t>(end); ++i) {
                       identities[i] = identity_in_context(plan, plan.inputs[i], input_identity);
                     }
                   });
  return manifest_of(plan, identities);
}

std::string describe_change(const Manifest& finished, const Manifest& planned) {
  if (finished.identity == stage_identity(planned)) {
    return "";
  }
  std::string out;
  if (finished.stage != planned.stage) {
    out += "  it was written by '" + finished.stage + "', this is '" + planned.stage + "'\n";
  }
  if (finished.identity_version != planned.identity_version) {
    // Its config is not written as ours is: every line would differ and say nothing.
    return out + "  it was written by growmerge " + finished.growmerge_version +
           ", which made identities in another way\n";
  }
  if (finished.seed != planned.seed) {
    out += concat("  seed: was ", finished.seed, ", is ", planned.seed, "\n");
  }
  out += describe_config_change(finished.config, planned.config);
  out += describe_input_change(finished, planned);
  return out.empty() ? "  the order of its inputs\n" : out;
}

}  // namespace growmerge::launch
