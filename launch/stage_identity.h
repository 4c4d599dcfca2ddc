// What a stage computes, as one hash: the manifest of a plan before there is any output.
//
// An identity is made of the stage's name, its seed, the identities of its inputs, and the fields
// of its config by key and value. describe() says how a field counts (core/base/config.h): a value
// counts; of an input the role counts, and what lies there by its own identity, so that moving it
// changes nothing; a place never counts. Neither the number of ranks nor the order in which a
// config's fields are described is part of it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "launch/command.h"

namespace growmerge::launch {

/// The manifest that the planned stage would have, as far as its identity goes: stage, config, seed
/// and inputs. Reads all inputs. Errors: kNotFound naming the input that is not there.
[[nodiscard]] Manifest planned_manifest(const StagePlan& plan);

/// Of one input. Errors: those of path_identity().
[[nodiscard]] std::string input_identity(const StageInput& input);

/// The same where the inputs' identities are known, one for each of plan.inputs. The identity is
/// left empty where one of them is.
[[nodiscard]] Manifest manifest_of(const StagePlan& plan, std::span<const std::string> identities);

/// The same where identities come with the work (StagePlan::hashes_while_working). Errors:
/// kNotFound naming the input that is not there.
[[nodiscard]] Manifest manifest_to_come(const StagePlan& plan);

/// What differs between a finished stage and what it would be now, a line each; empty when nothing.
[[nodiscard]] std::string describe_change(const Manifest& finished, const Manifest& planned);

}  // namespace growmerge::launch
