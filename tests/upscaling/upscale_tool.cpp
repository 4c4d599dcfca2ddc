// SOURCE OUT FACTOR NOISE DTYPE: grows a model directory into a new one, certificate included.
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "upscaling/upscale.h"

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    growmerge::upscaling::UpscaleConfig config;
    config.growth.width_factor = std::stoll(args.at(2));
    config.growth.noise = args.at(3);
    config.save_dtype = args.at(4);
    std::filesystem::create_directories(args.at(1));
    const auto result = growmerge::upscaling::upscale_checkpoint(config, args.at(0), args.at(1));
    std::cout << result.certificate.json();
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
  return 0;
}
