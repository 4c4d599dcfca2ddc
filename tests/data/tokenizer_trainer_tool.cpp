// Trains a tokenizer for tests/reference/tokenizer_reference.py:
//   growmerge_tokenizer_trainer_tool TEXT.jsonl DIRECTORY VOCAB_SIZE MIN_FREQUENCY SPLIT_DIGITS
//   [BYTE_FALLBACK]   (then without BOS, and with every character in the alphabet)
#include <iostream>
#include <string>

#include "data/tokenizer_trainer.h"

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::cerr << "usage: growmerge_tokenizer_trainer_tool TEXT.jsonl DIRECTORY VOCAB_SIZE "
                 "MIN_FREQUENCY SPLIT_DIGITS [BYTE_FALLBACK]\n";
    return 2;
  }
  try {
    growmerge::data::TokenizerTrainConfig config;
    config.inputs.emplace_back();
    config.inputs[0].path = argv[1];
    config.vocab_size = std::stoll(argv[3]);
    config.min_frequency = std::stoll(argv[4]);
    config.split_digits = std::string(argv[5]) == "1";
    config.special_tokens = {"<|pad|>"};
    if (argc == 7 && std::string(argv[6]) == "1") {
      config.byte_fallback = true;
      config.bos_token = std::nullopt;
      config.character_coverage = 1.0;
    }
    const auto summary = growmerge::data::train_tokenizer(config, std::string(argv[2]));
    std::cout << summary.documents << ' ' << summary.bytes << ' ' << summary.words << ' '
              << summary.vocab_size << ' ' << summary.merges << '\n';
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << '\n';
    return 1;
  }
  return 0;
}
