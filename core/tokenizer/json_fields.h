// Fields of tokenizer.json, each read with its check; errors say which part of the file they are
// in.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace growmerge::tok {

using Json = nlohmann::json;

/// The field; nothing where it is missing or null, which mean the same here.
[[nodiscard]] const Json* find_field(const Json& object, const char* key);

/// A value for a message: as it stands, or its type where it is a list or an object, which may be
/// nested deeper than the stack is.
[[nodiscard]] std::string shown(const Json& value);

// `what` names the part. Errors: kCorrupt for a missing field or one of a wrong type.
void require_object(const Json& value, const std::string& what);
const Json& require_field(const Json& object, const char* key, const std::string& what);
const Json& require_array(const Json& object, const char* key, const std::string& what);
[[nodiscard]] std::string string_field(const Json& object, const char* key,
                                       const std::string& what);
/// A string of one character.
[[nodiscard]] std::string character_field(const Json& object, const char* key,
                                          const std::string& what);
[[nodiscard]] bool bool_field(const Json& object, const char* key, bool fallback,
                              const std::string& what);
[[nodiscard]] std::size_t count_field(const Json& object, const char* key, const std::string& what);
/// Errors: kUnsupported for an id that no vocabulary reaches, too.
[[nodiscard]] std::int32_t id_value(const Json& value, const std::string& what);

}  // namespace growmerge::tok
