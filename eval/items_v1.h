// Reading items of format version 1, in which pairs and texts were two records.
//
// Nothing writes it any more. docs/formats/results.md describes it.
#pragma once

#include <string>

#include "eval/items.h"

namespace growmerge::eval {

/// From the text of the first line. Errors: nlohmann's where a member is missing; kInvalidArgument
/// (unknown rules).
[[nodiscard]] TaskHeader header_from_v1(const std::string& line);
/// Any other line. Errors: as above; kCorrupt when a text stands in a task of pairs or the reverse.
[[nodiscard]] ItemRecord record_from_v1(const std::string& line, const TaskHeader& header,
                                        const std::string& where);

}  // namespace growmerge::eval
