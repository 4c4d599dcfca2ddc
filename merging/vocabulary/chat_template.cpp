#include "merging/vocabulary/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/white_space.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

struct NamedTemplate {
  const char* name;
  const char* text;
};

// Written from the published formats.
constexpr NamedTemplate kTemplates[] = {
    {"chatml",
     "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
     "{{ message['content'] }}<|im_end|>\n"
     "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"},
    {"llama3",
     "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}"
     "<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
     "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"},
    {"mistral",
     "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
     "{{ message['content'] }}{{ eos_token }}{% else %}[INST] {{ message['content'] }} [/INST]"
     "{% endif %}{% endfor %}"},
    {"alpaca",
     "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}\n\n"
     "{% elif message['role'] == 'user' %}### Instruction:\n{{ message['content'] }}\n\n"
     "{% else %}### Response:\n{{ message['content'] }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}### Response:\n{% endif %}"}};

}  // namespace

std::string chat_template_text(const YamlNode& node) {
  const std::string& text = node.as_string();
  if (text == "auto") {
    return text;
  }
  std::string names;
  for (const NamedTemplate& one : kTemplates) {
    if (text == one.name) {
      return one.text;
    }
    names += std::string(names.empty() ? "" : ", ") + one.name;
  }
  GM_CHECK(text.find('{') != std::string::npos, kUnsupported, node.where(), ": chat_template '",
           text, "' is not supported: expected auto, one of ", names, ", or a Jinja template");
  return text;
}

std::optional<std::string> read_chat_template(const fs::path& dir) {
  if (fs::exists(dir / "chat_template.jinja")) {
    return read_file(dir / "chat_template.jinja");
  }
  if (!fs::exists(dir / "tokenizer_config.json")) {
    return std::nullopt;
  }
  const auto json = nlohmann::json::parse(read_json_text(dir / "tokenizer_config.json"), nullptr,
                                          /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("chat_template")) {
    return std::nullopt;
  }
  const auto& value = json["chat_template"];
  if (value.is_string()) {
    return value.get<std::string>();
  }
  // A list of several: the default one.
  if (value.is_array()) {
    for (const auto& one : value) {
      const bool is_default = one.is_object() && one.value("name", nlohmann::json()) == "default";
      if (is_default && one.contains("template") && one["template"].is_string()) {
        return one["template"].get<std::string>();
      }
    }
  }
  return std::nullopt;
}

std::optional<std::string> most_common_template(std::span<const fs::path> models) {
  std::vector<std::pair<std::string, int>> counts;
  for (const fs::path& model : models) {
    const std::optional<std::string> found = read_chat_template(model);
    const std::string text = found ? std::string(strip(*found)) : "";
    if (text.empty()) {
      continue;
    }
    const auto it = std::find_if(counts.begin(), counts.end(),
                                 [&text](const auto& one) { return one.first == text; });
    if (it != counts.end()) {
      ++it->second;
    } else {
      counts.emplace_back(text, 1);
    }
  }
  if (counts.empty()) {
    return std::nullopt;
  }
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace growmerge::merging
