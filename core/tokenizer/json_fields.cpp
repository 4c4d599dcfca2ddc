#include "core/tokenizer/json_fields.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

// Ids over this would only make tables grow; the largest vocabularies have fewer than 2^18 tokens.
constexpr std::int64_t kMaxId = (1 << 24) - 1;

}  // namespace

const Json* find_field(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string shown(const Json& value) {
  return value.is_primitive() ? value.dump() : value.type_name();
}

void require_object(const Json& value, const std::string& what) {
  GM_CHECK(value.is_object(), kCorrupt, what, ": expected a JSON object, got ", value.type_name());
}

const Json& require_field(const Json& object, const char* key, const std::string& what) {
  const Json* value = find_field(object, key);
  GM_CHECK(value != nullptr, kCorrupt, what, ": field '", key, "' is missing");
  return *value;
}

const Json& require_array(const Json& object, const char* key, const std::string& what) {
  const Json& value = require_field(object, key, what);
  GM_CHECK(value.is_array(), kCorrupt, what, ": field '", key, "': expected a list, got ",
           value.type_name());
  return value;
}

std::string string_field(const Json& object, const char* key, const std::string& what) {
  const Json& value = require_field(object, key, what);
  GM_CHECK(value.is_string(), kCorrupt, what, ": field '", key, "': expected a string, got ",
           value.type_name());
  return value.get<std::string>();
}

bool bool_field(const Json& object, const char* key, bool fallback, const std::string& what) {
  const Json* value = find_field(object, key);
  if (value == nullptr) {
    return fallback;
  }
  GM_CHECK(value->is_boolean(), kCorrupt, what, ": field '", key, "': expected true or false, got ",
           value->type_name());
  return value->get<bool>();
}

std::string character_field(const Json& object, const char* key, const std::string& what) {
  std::string out = string_field(object, key, what);
  GM_CHECK(!out.empty() && utf8_length(out[0]) == out.size(), kCorrupt, what, ": field '", key,
           "': expected one character, got '", out, "'");
  return out;
}

std::size_t count_field(const Json& object, const char* key, const std::string& what) {
  const Json& value = require_field(object, key, what);
  GM_CHECK(value.is_number_unsigned(), kCorrupt, what, ": field '", key,
           "': expected a count, got ", shown(value));
  return value.get<std::size_t>();
}

std::int32_t id_value(const Json& value, const std::string& what) {
  GM_CHECK(value.is_number_integer(), kCorrupt, what, ": expected an id, got ", value.type_name());
  // Compared before it is narrowed: an id above 2^63 would come out negative.
  GM_CHECK(!value.is_number_unsigned() || value.get<std::uint64_t>() <= kMaxId, kUnsupported, what,
           ": id ", value.dump(), " is over ", kMaxId);
  const auto id = value.get<std::int64_t>();
  GM_CHECK(id >= 0, kCorrupt, what, ": id ", id, " is negative");
  return static_cast<std::int32_t>(id);
}

}  // namespace growmerge::tok
