// For tests/reference/shard_reference.py: writes a token shard from a text file whose first line is
// "language vocab_size bos eos" and each further line one document, "text_bytes token token ...".
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "data/token_shard.h"

int main(int argc, char** argv) {
  using growmerge::data::TokenShardInfo;
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s DOCUMENTS.txt SHARD.h5\n", argv[0]);
    return 2;
  }
  try {
    std::ifstream in(argv[1]);
    TokenShardInfo info;
    in >> info.language >> info.vocab_size >> info.bos_id >> info.eos_id;
    info.sources = "one\ntwo";
    info.tokenizer_hash = "0123456789abcdef";
    growmerge::data::TokenShardWriter writer(argv[2], info);
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
      std::istringstream fields(line);
      std::uint32_t bytes = 0;
      fields >> bytes;
      std::vector<std::int32_t> tokens;
      for (std::int32_t token = 0; fields >> token;) {
        tokens.push_back(token);
      }
      writer.add(tokens, bytes, bytes);
    }
    (void)writer.finish();
    growmerge::data::TokenShard::open(argv[2]).verify();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
