#include "core/model/model_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/model/families.h"
#include "core/model/model_config_keys.h"
#include "core/model/tensor_table.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

using Json = nlohmann::json;

Json good_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 100},
          {"hidden_size", 16},
          {"intermediate_size", 24},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"tie_word_embeddings", true},
          {"rope_theta", 50000},
          {"bos_token_id", 1},
          {"eos_token_id", {2, 3}},
          {"my_own_key", {1, 2}}};
}

ModelConfig parse(const Json& json) { return parse_model_config(json.dump(), "c/config.json"); }

template <class T>
Json with(const char* key, const T& value) {
  Json json = good_config();
  json[key] = value;
  return json;
}

TEST(ModelConfig, ReadsNumbersAndFillsTransformersDefaults) {
  const ModelConfig c = parse(good_config());
  EXPECT_EQ(c.vocab_size, 100);
  EXPECT_EQ(c.head_dim, 4);
  EXPECT_EQ(c.num_kv_heads, 2);
  EXPECT_EQ(c.activation, Activation::kSilu);
  EXPECT_DOUBLE_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_DOUBLE_EQ(c.rope.theta, 50000.0);
  EXPECT_EQ(c.eos_token_ids, (std::vector<std::int64_t>{2, 3}));
  Json json = good_config();
  json.erase("tie_word_embeddings");
  json.erase("num_key_value_heads");
  EXPECT_FALSE(parse(json).tie_word_embeddings);
  EXPECT_EQ(parse(json).num_kv_heads, 4);
}

TEST(ModelConfig, ReadsBothFormsOfRope) {
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  const ModelConfig old_form = parse(with("rope_scaling", llama3));
  ASSERT_TRUE(old_form.rope.type == RopeType::kLlama3);
  EXPECT_DOUBLE_EQ(old_form.rope.factor, 32.0);
  EXPECT_DOUBLE_EQ(old_form.rope.theta, 50000.0);
  Json json = good_config();
  json.erase("rope_theta");
  json["rope_parameters"] = llama3;
  json["rope_parameters"]["rope_theta"] = 7e5;
  const ModelConfig new_form = parse(json);
  EXPECT_DOUBLE_EQ(new_form.rope.theta, 7e5);
  EXPECT_EQ(new_form.rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(parse(with("rope_scaling", Json{{"type", "default"}})).rope.type, RopeType::kDefault);
}

TEST(ModelConfig, WritesWhatItReadsAndCarriesUnknownKeys) {
  Json json = good_config();
  json["hidden_act"] = "gelu_pytorch_tanh";
  json["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 64}};
  ModelConfig c = parse(json);
  c.hidden_size = 32;
  c.head_dim = 8;
  const std::string text = model_config_json(c, "bfloat16");
  const Json written = Json::parse(text);
  EXPECT_EQ(written["my_own_key"], Json({1, 2}));
  EXPECT_EQ(written["hidden_size"], 32);
  EXPECT_EQ(written["torch_dtype"], "bfloat16");
  EXPECT_EQ(written["dtype"], "bfloat16");
  const ModelConfig again = parse_model_config(text, "again");
  EXPECT_EQ(again.activation, Activation::kGeluTanh);
  EXPECT_EQ(again.hidden_size, 32);
  EXPECT_DOUBLE_EQ(again.rope.theta, 50000.0);
  EXPECT_DOUBLE_EQ(again.rope.factor, 8.0);
  EXPECT_EQ(again.eos_token_ids, c.eos_token_ids);
  EXPECT_EQ(again.bos_token_id, c.bos_token_id);
}

TEST(ModelConfig, HyperLlamaKeepsItsFactor) {
  Json json = with("architectures", Json{"HyperLlamaForCausalLM"});
  json["lm_head_normalization_factor"] = 2.0;
  const ModelConfig c = parse(json);
  EXPECT_DOUBLE_EQ(c.lm_head_normalization_factor, 2.0);
  EXPECT_DOUBLE_EQ(
      parse_model_config(model_config_json(c, "float32"), "x").lm_head_normalization_factor, 2.0);
  EXPECT_ERROR(parse(with("lm_head_normalization_factor", 2.0)), kInvalidArgument,
               "needs architecture HyperLlamaForCausalLM");
}

TEST(ModelConfig, RefusesOtherModelsByName) {
  for (const char* name : {"MixtralForCausalLM", "Qwen3MoeForCausalLM", "GPT2LMHeadModel"}) {
    EXPECT_ERROR(parse(with("architectures", Json{name})), kUnsupported, "c/config.json", name,
                 "use a Llama model");
  }
  Json json = good_config();
  json.erase("architectures");
  json["model_type"] = "mixtral";
  EXPECT_ERROR(parse(json), kUnsupported, "mixtral");
  json.erase("model_type");
  EXPECT_ERROR(parse(json), kCorrupt, "neither 'architectures' nor 'model_type'");
}

TEST(ModelConfig, RefusesWhatChangesTheFunction) {
  EXPECT_ERROR(parse(with("rope_interleaved", true)), kUnsupported, "rope_interleaved");
  EXPECT_ERROR(parse(with("sliding_window", 4096)), kUnsupported, "sliding_window", "null");
  EXPECT_ERROR(parse(with("layer_types", Json{"sliding_attention"})), kUnsupported, "layer_types");
  EXPECT_ERROR(parse(with("quantization_config", Json::object())), kUnsupported, "quantised");
  EXPECT_ERROR(parse(with("hidden_act", "relu")), kUnsupported, "relu", "silu");
  EXPECT_ERROR(parse(with("num_local_experts", 8)), kUnsupported, "num_local_experts");
  EXPECT_ERROR(parse(with("partial_rotary_factor", 0.5)), kUnsupported, "partial_rotary_factor");
  EXPECT_ERROR(parse(with("rope_scaling", Json{{"type", "mrope"}, {"factor", 4.0}})), kUnsupported,
               "mrope", "llama3");
  EXPECT_ERROR(parse(with("rope_scaling", Json{{"type", "llama3"}, {"factor", 4.0}})), kCorrupt,
               "low_freq_factor");
}

TEST(ModelConfig, RefusesWrongTypesAndNumbers) {
  EXPECT_ERROR(parse_model_config("{", "c/config.json"), kCorrupt, "c/config.json",
               "not valid JSON");
  EXPECT_ERROR(parse_model_config("[]", "c"), kCorrupt, "is no JSON object");
  EXPECT_ERROR(parse(with("vocab_size", "100")), kCorrupt, "'vocab_size'", "a whole number",
               "\"100\"");
  EXPECT_ERROR(parse(with("rms_norm_eps", "x")), kCorrupt, "'rms_norm_eps'", "a number");
  EXPECT_ERROR(parse(with("tie_word_embeddings", 1)), kCorrupt, "true or false");
  EXPECT_ERROR(parse(with("hidden_act", 1)), kCorrupt, "a string");
  Json json = good_config();
  json.erase("hidden_size");
  EXPECT_ERROR(parse(json), kCorrupt, "key 'hidden_size' is missing");
  EXPECT_ERROR(parse(with("num_hidden_layers", 0)), kInvalidArgument, "num_hidden_layers is 0");
  EXPECT_ERROR(parse(with("num_attention_heads", 0)), kInvalidArgument, "num_attention_heads");
  EXPECT_ERROR(parse(with("num_attention_heads", 3)), kInvalidArgument, "hidden_size 16");
  EXPECT_ERROR(parse(with("num_key_value_heads", 3)), kInvalidArgument, "num_key_value_heads 3");
  EXPECT_ERROR(parse(with("head_dim", 3)), kInvalidArgument, "head_dim 3 is odd");
  EXPECT_ERROR(parse(with("vocab_size", std::int64_t{1} << 40)), kInvalidArgument,
               "larger than any model");
  EXPECT_ERROR(parse(with("num_hidden_layers", 2'000'000'000)), kInvalidArgument,
               "num_hidden_layers is 2000000000");
  EXPECT_ERROR(parse(with("bos_token_id", 100)), kInvalidArgument, "outside the vocabulary");
  EXPECT_ERROR(parse(with("eos_token_id", -1)), kInvalidArgument, "outside the vocabulary");
  EXPECT_ERROR(load_model_config("/nonexistent"), kNotFound, "/nonexistent");
}

TEST(ModelConfig, LayoutAndParameterCount) {
  ModelConfig c = parse(good_config());
  const std::vector<TensorSpec> layout = model_tensors(c);
  EXPECT_EQ(layout.size(), 2 + 2 * 9);
  EXPECT_EQ(layout[3].name, "model.layers.0.self_attn.k_proj.weight");
  EXPECT_EQ(layout[3].shape, (std::vector<std::int64_t>{8, 16}));
  const std::int64_t layer = 2 * 16 + 2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 24;
  EXPECT_EQ(num_parameters(c), 100 * 16 + 16 + 2 * layer);
  c.tie_word_embeddings = false;
  EXPECT_EQ(model_tensors(c).back().name, "lm_head.weight");
}

TEST(ModelConfig, Qwen2HasBiasesOfQueriesKeysAndValues) {
  Json json = with("architectures", Json{"Qwen2ForCausalLM"});
  json["sliding_window"] = 4096;  // published files say so, and that it is not used
  json["max_window_layers"] = 21;
  const ModelConfig c = parse(json);
  EXPECT_EQ(c.architecture, "Qwen2ForCausalLM");
  EXPECT_EQ(c.max_position_embeddings, 32768);
  const std::vector<TensorSpec> layout = model_tensors(c);
  EXPECT_EQ(layout.size(), 2 + 2 * 12);
  EXPECT_EQ(layout[7].name, "model.layers.0.self_attn.v_proj.bias");
  EXPECT_EQ(layout[8].name, "model.layers.0.self_attn.o_proj.weight");
  const Json written = Json::parse(model_config_json(c, "float32"));
  EXPECT_EQ(written["model_type"], "qwen2");
  EXPECT_FALSE(written.contains("attention_bias"));
  EXPECT_EQ(parse(written), parse_model_config(written.dump(), "again"));
  EXPECT_FALSE(c.sliding_window.has_value());
  json["use_sliding_window"] = true;
  json["max_window_layers"] = 1;
  const ModelConfig sliding = parse(json);
  EXPECT_EQ(sliding.window_of(0), 0);
  EXPECT_EQ(sliding.window_of(1), 4096);
  json = with("architectures", Json{"Qwen2ForCausalLM"});
  json["mlp_bias"] = true;
  EXPECT_ERROR(parse(json), kInvalidArgument, "mlp_bias true needs architecture", "Llama");
}

Json of_family(const char* architecture) {
  Json json = with("architectures", Json{architecture});
  json.erase("model_type");
  json.erase("my_own_key");
  return json;
}

// What is written says the same in both spellings, and is read again as what it was.
TEST(ModelConfig, EveryFamilyIsReadAgainAsItWasWritten) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.architecture);
    ModelConfig config = parse(of_family(family.architecture));
    const std::string text = model_config_json(config, "bfloat16");
    ModelConfig again = parse_model_config(text, "again");
    config.source_json = again.source_json = "";
    EXPECT_EQ(again, config);
    EXPECT_EQ(Json::parse(text)["model_type"], family.model_type);
    EXPECT_TRUE(unknown_config_keys(text).empty()) << text;
  }
}

TEST(ModelConfig, WindowsFollowTheFamilyWhereNoListSaysThem) {
  const auto windows = [](const Json& json) {
    const ModelConfig c = parse(json);
    std::vector<std::int64_t> out;
    for (std::int64_t layer = 0; layer < c.num_layers; ++layer) {
      out.push_back(c.window_of(layer));
    }
    return out;
  };
  using Windows = std::vector<std::int64_t>;
  Json json = of_family("MistralForCausalLM");
  EXPECT_EQ(windows(json), (Windows{4096, 4096}));
  json["sliding_window"] = nullptr;  // says that there is none, where silence means the default
  EXPECT_EQ(windows(json), (Windows{0, 0}));
  json = of_family("Gemma2ForCausalLM");
  json["num_hidden_layers"] = 3;
  EXPECT_EQ(windows(json), (Windows{4096, 0, 4096}));
  json["layer_types"] = {"full_attention", "full_attention", "sliding_attention"};
  json["sliding_window"] = 7;
  EXPECT_EQ(windows(json), (Windows{0, 0, 7}));
  json = of_family("Gemma3ForCausalLM");
  json["sliding_window_pattern"] = 2;
  EXPECT_EQ(windows(json), (Windows{4096, 0}));
  json = of_family("Olmo3ForCausalLM");
  json["num_hidden_layers"] = 4;
  EXPECT_EQ(windows(json), (Windows{4096, 4096, 4096, 0}));
  json = of_family("SmolLM3ForCausalLM");
  json["no_rope_layer_interval"] = 2;
  EXPECT_EQ(windows(json), (Windows{0, 0}));
  json["use_sliding_window"] = true;
  json["sliding_window"] = 9;
  EXPECT_EQ(windows(json), (Windows{0, 9}));
  EXPECT_FALSE(parse(json).uses_rope(1));
}

TEST(ModelConfig, ListsByLayerHaveOneEntryForEach) {
  for (const char* architecture : {"LlamaForCausalLM", "Qwen3ForCausalLM", "Gemma2ForCausalLM"}) {
    Json json = of_family(architecture);
    json["layer_types"] = {"full_attention", "full_attention", "full_attention"};
    EXPECT_ERROR(parse(json), kInvalidArgument, "layer_types", "3 entries", "2");
  }
  Json json = of_family("SmolLM3ForCausalLM");
  json["no_rope_layers"] = {1};
  EXPECT_ERROR(parse(json), kInvalidArgument, "no_rope_layers", "1 entries");
  json = of_family("Qwen3ForCausalLM");
  json["layer_types"] = {"full_attention", "sliding_attention"};
  EXPECT_ERROR(parse(json), kInvalidArgument, "sliding_attention", "no sliding_window");
  json["layer_types"] = {"full_attention", "linear_attention"};
  EXPECT_ERROR(parse(json), kUnsupported, "linear_attention");
}

TEST(ModelConfig, SpellingsOfRopeThatDisagreeAreRefusedWithBothValues) {
  Json json = with("rope_parameters", Json{{"rope_type", "default"}, {"rope_theta", 500000.0}});
  EXPECT_ERROR(parse(json), kCorrupt, "rope_theta", "50000", "500000.0");
  json["rope_parameters"]["rope_theta"] = 50000;
  EXPECT_DOUBLE_EQ(parse(json).rope.theta, 50000.0);
  const Json linear = {{"rope_type", "linear"}, {"factor", 4.0}};
  json["rope_scaling"] = linear;
  EXPECT_EQ(parse(json).rope.type, RopeType::kLinear);
  json["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  EXPECT_ERROR(parse(json), kCorrupt, "factor", "4.0", "2.0");
  json["rope_parameters"] = {{"rope_type", "dynamic"}, {"factor", 4.0}};
  EXPECT_ERROR(parse(json), kCorrupt, "rope_type", "linear", "dynamic");
}

TEST(ModelConfig, LocalRopeIsReadInBothForms) {
  Json json = of_family("Gemma3ForCausalLM");
  json.erase("rope_theta");
  EXPECT_DOUBLE_EQ(parse(json).rope.theta, 1e6);
  EXPECT_DOUBLE_EQ(parse(json).local_rope.theta, 1e4);
  json["rope_local_base_freq"] = 20000.0;
  json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8.0}};
  const ModelConfig old_form = parse(json);
  EXPECT_DOUBLE_EQ(old_form.local_rope.theta, 2e4);
  EXPECT_EQ(old_form.local_rope.type, RopeType::kDefault);
  EXPECT_EQ(old_form.rope.type, RopeType::kLinear);
  json.erase("rope_scaling");
  json["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}}},
                             {"sliding_attention", {{"rope_theta", 30000.0}}}};
  EXPECT_ERROR(parse(json), kCorrupt, "rope_theta", "20000.0", "30000.0");
  json.erase("rope_local_base_freq");
  EXPECT_DOUBLE_EQ(parse(json).local_rope.theta, 3e4);
  EXPECT_DOUBLE_EQ(parse(json).rope.factor, 8.0);
}

TEST(ModelConfig, KindsOfRopeTakeWhatTheyLackFromTheConfig) {
  Json json = with("rope_scaling", Json{{"type", "yarn"}, {"factor", 4.0}});
  json["max_position_embeddings"] = 8192;
  EXPECT_EQ(parse(json).rope.original_max_position_embeddings, 8192);
  json["rope_scaling"] = {{"type", "yarn"}, {"original_max_position_embeddings", 2048}};
  EXPECT_DOUBLE_EQ(parse(json).rope.factor, 4.0);
  json = of_family("Phi3ForCausalLM");
  json["max_position_embeddings"] = 131072;
  json["original_max_position_embeddings"] = 4096;
  json["rope_scaling"] = {
      {"type", "su"}, {"short_factor", {1.0, 1.5}}, {"long_factor", {2.0, 3.0}}};
  const ModelConfig phi = parse(json);
  EXPECT_EQ(phi.rope.type, RopeType::kLongrope);
  EXPECT_DOUBLE_EQ(phi.rope.factor, 32.0);
  json["rope_scaling"]["short_factor"] = {1.0};
  EXPECT_ERROR(parse(json), kInvalidArgument, "short_factor", "1 numbers");
}

TEST(ModelConfig, BiasesAreTensorsOfTheirOwn) {
  Json json = with("attention_bias", true);
  json["mlp_bias"] = true;
  const ModelConfig c = parse(json);
  const std::vector<TensorSpec> layout = model_tensors(c);
  EXPECT_EQ(layout.size(), 2 + 2 * 16);
  EXPECT_EQ(layout[3].name, "model.layers.0.self_attn.q_proj.bias");
  EXPECT_EQ(layout[3].shape, (std::vector<std::int64_t>{16}));
  EXPECT_EQ(layout[3].place.row->group(), "q_proj.bias");
  EXPECT_EQ(layout[2].place.row->group(), "q_proj");
  EXPECT_EQ(layout[0].place.row->group(), "embed_tokens");
  EXPECT_EQ(layout.back().place.row->group(), "norm");
  const Json written = Json::parse(model_config_json(c, "float32"));
  EXPECT_TRUE(written["attention_bias"].get<bool>());
  EXPECT_TRUE(written["mlp_bias"].get<bool>());
}

TEST(ModelConfig, SmolLM2HasItsPublishedParameterCount) {
  GM_REQUIRE_SHARED_DATA(data);
  const ModelConfig c = load_model_config(data / "tokenizers/smollm2/config.SmolLM2-135M.json");
  EXPECT_EQ(num_parameters(c), 134515008);
}

TEST(ModelConfig, UnknownKeysAreNamed) {
  Json json = good_config();
  json.erase("my_own_key");
  json["torch_dtype"] = "bfloat16";
  json["use_cache"] = true;
  json["pretraining_tp"] = 1;
  json["scale_emb"] = nullptr;
  EXPECT_TRUE(unknown_config_keys(json.dump()).empty());
  EXPECT_TRUE(
      unknown_config_keys(model_config_json(parse_model_config(json.dump(), "c"), "float32"))
          .empty())
      << "what is written here is known here";
  EXPECT_EQ(config_warning(json.dump(), "runs/a"), "");
  json["scale_emb"] = 12;
  json["scale_depth"] = 1.4;
  EXPECT_EQ(unknown_config_keys(json.dump()),
            (std::vector<std::string>{"scale_depth", "scale_emb"}));
  const std::string warning = config_warning(json.dump(), "runs/a");
  EXPECT_NE(warning.find("runs/a"), std::string::npos);
  EXPECT_NE(warning.find("'scale_depth', 'scale_emb'"), std::string::npos);
}

}  // namespace
}  // namespace growmerge
