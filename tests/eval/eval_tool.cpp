// growmerge_eval_tool MODEL_DIR CONFIG.yaml OUT_DIR: evaluates one model in one process, for parity
// scripts. growmerge_eval_tool --sample MODEL_DIR CONFIG.yaml COUNT OUT.jsonl: samples documents.
#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/log.h"
#include "eval/evaluate.h"
#include "eval/generate.h"

namespace growmerge::eval {
namespace {

/// {"id", "text"} a line.
std::vector<Document> read_documents(const TaskConfig& task) {
  std::vector<Document> documents;
  for (const std::string& path : task.path) {
    std::ifstream in(path);
    std::string line;
    while (std::getline(in, line)) {
      const auto json = nlohmann::json::parse(line);
      documents.push_back({json.at("id"), json.at("text")});
    }
  }
  return documents;
}

int run(const std::vector<std::string>& arguments) {
  configure_log({.level = LogLevel::kWarning});
  const auto comm = make_single_process_communicator();
  if (arguments.size() == 5 && arguments[0] == "--sample") {
    const auto config = load_config<SamplingConfig>(arguments[2], {});
    const Model model = load_model(arguments[1], at::kFloat);
    write_documents(arguments[4], sample_documents(model, Tokenizer::load(arguments[1]),
                                                   std::stoll(arguments[3]), config, *comm));
    return 0;
  }
  if (arguments.size() != 3) {
    std::fputs("usage: growmerge_eval_tool MODEL_DIR CONFIG.yaml OUT_DIR\n", stderr);
    return 2;
  }
  const auto config = load_config<EvalConfig>(arguments[1], {});
  const Model model = load_model(arguments[0], config.scalar_type());
  const Results results = evaluate(
      config, read_documents, model, Tokenizer::load(arguments[0]),
      {.name = "model", .path = arguments[0], .identity = "", .dtype = "", .tokenizer_hash = ""},
      *comm, arguments[2], false);
  std::fputs(format_results(results).c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace growmerge::eval

int main(int argc, char** argv) {
  try {
    return growmerge::eval::run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "growmerge_eval_tool: %s\n", e.what());
    return 1;
  }
}
