#include "merging/method_docs.h"

#include <vector>

#include "core/base/error.h"
#include "merging/methods/methods.h"

namespace growmerge::merging {
namespace {

std::string default_text(const Parameter& parameter) {
  if (!parameter.fallback) {
    return "required";
  }
  if (parameter.type == ParameterValue::Type::kFlag) {
    return *parameter.fallback != 0.0 ? "true" : "false";
  }
  return concat(*parameter.fallback);
}

/// mergekit's places.
const char* scope_text(const Parameter& parameter) {
  return parameter.scope == Parameter::Scope::kModel ? "each model, or the top level for all"
                                                     : "the top level";
}

std::string base_text(const Method& method) {
  switch (method.needs.base) {
    case BaseUse::kRequired:
      return "required";
    case BaseUse::kOptional:
      return "may be given";
    case BaseUse::kNone:
      return "none";
  }
  return {};
}

std::string granularity_text(const Method& method) {
  switch (method.granularity) {
    case Granularity::kTile:
      return "element by element, in one pass";
    case Granularity::kTensor:
      return "tensor by tensor, in two passes";
    case Granularity::kModel:
      return "after a pass over each whole model";
  }
  return {};
}

/// As plan_merge counts it.
std::string memory_text(const Method& method) {
  return method.memory_per_element == 0.0
             ? "nothing"
             : concat(method.memory_per_element,
                      " bytes for each model and element of the largest tensor");
}

/// "| `ties` | what it does | required | `weight` (required), `density` (1) |"
std::string method_row(const Method& method) {
  std::string parameters;
  for (const Parameter& parameter : method.parameters) {
    if (!parameter.is_idle) {
      parameters += concat(parameters.empty() ? "" : ", ", "`", parameter.name, "` (",
                           default_text(parameter), ")");
    }
  }
  return concat("| `", method.name, "` | ", method.doc, " | ", base_text(method), " | ", parameters,
                method.needs.random_numbers ? "; `random_seed` (0) beside them" : "",
                method.needs.fisher ? "; `statistics` of each model" : "", " |\n");
}

/// A parameter, and the methods that take it in the same way but for the default.
struct SharedParameter {
  const Parameter* parameter;
  std::string methods;
};

/// In the order of the table: the rows of common_parameters.h are copies in every method.
std::vector<SharedParameter> shared_parameters() {
  std::vector<SharedParameter> out;
  for (const Method& method : methods()) {
    for (const Parameter& parameter : method.parameters) {
      if (parameter.is_idle) {
        continue;
      }
      SharedParameter* known = nullptr;
      for (SharedParameter& other : out) {
        const bool is_same = std::string(other.parameter->name) == parameter.name &&
                             std::string(other.parameter->doc) == parameter.doc &&
                             range_text(*other.parameter) == range_text(parameter) &&
                             other.parameter->scope == parameter.scope;
        known = is_same ? &other : known;
      }
      if (known != nullptr) {
        known->methods += concat(", ", method.name);
      } else {
        out.push_back({&parameter, method.name});
      }
    }
  }
  return out;
}

/// Everything that one method's row says.
std::string method_section(const Method& method) {
  std::string out =
      concat("\n## `", method.name, "`\n\n", method.doc, " (", method.source, ").\n\n",
             "Definition: ", method.definition, ".\n\n", "`base_model`: ", base_text(method));
  if (method.needs.fisher) {
    out += "; `statistics` of each model, which `growmerge stats` writes";
  }
  if (method.needs.random_numbers) {
    out += "; `random_seed`: a whole number, 0 where it is not given";
  }
  out += concat(". Computed ", granularity_text(method),
                ". Memory beside the tiles: ", memory_text(method), ".\n\n");
  out += "| parameter | given at | value | default | meaning |\n|---|---|---|---|---|\n";
  for (const Parameter& parameter : method.parameters) {
    out += concat(
        "| `", parameter.name, "` | ", parameter.is_idle ? "anywhere" : scope_text(parameter),
        " | ", range_text(parameter), " | ", default_text(parameter), " | ", parameter.doc, " |\n");
  }
  return out;
}

}  // namespace

std::string method_tables() {
  std::string out =
      "| `merge_method` | what it computes | `base_model` | parameters (default) |\n"
      "|---|---|---|---|\n";
  for (const Method& method : methods()) {
    out += method_row(method);
  }
  out += "\n| parameter | of | given at | value | meaning |\n|---|---|---|---|---|\n";
  for (const SharedParameter& shared : shared_parameters()) {
    out += concat("| `", shared.parameter->name, "` | ", shared.methods, " | ",
                  scope_text(*shared.parameter), " | ", range_text(*shared.parameter), " | ",
                  shared.parameter->doc, " |\n");
  }
  return out;
}

std::string method_page() {
  std::string out =
      "# Merge methods\n\n"
      "Generated from the rows in `merging/methods/` (`growmerge_merge_tool --methods`). What a "
      "recipe holds besides, how values\nvary over layers and tensors, and how this differs from "
      "mergekit: [merging.md](merging.md).\n\n"
      "Symbols: theta_0 the base, theta_i the models, delta_i = theta_i - theta_0, w_i the "
      "weights; "
      "everything is per tensor.\nEvery default is mergekit's, where it has the method.\n";
  for (const Method& method : methods()) {
    out += method_section(method);
  }
  return out;
}

}  // namespace growmerge::merging
