// Built without torch's include directories: torch carries its own fmt, which breaks Debian's
// spdlog.
#include "core/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <set>

#include "core/base/terminal_text.h"

namespace growmerge {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>(
        "growmerge", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("[%H:%M:%S] %^%l%$: %v");
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

int current_rank = 0;

}  // namespace

void configure_log(const LogConfig& config) {
  current_rank = config.rank;
  spdlog::level::level_enum level = spdlog::level::info;
  switch (config.level) {
    case LogLevel::kDebug:
      level = spdlog::level::debug;
      break;
    case LogLevel::kInfo:
      level = spdlog::level::info;
      break;
    case LogLevel::kWarning:
      level = spdlog::level::warn;
      break;
    case LogLevel::kError:
      level = spdlog::level::err;
      break;
    case LogLevel::kOff:
      level = spdlog::level::off;
      break;
  }
  logger().set_level(level);
  if (config.world_size > 1) {
    logger().set_pattern("[%H:%M:%S] rank " + std::to_string(config.rank) + " %^%l%$: %v");
  }
}

void log_debug(const std::string& text) {
  logger().log(spdlog::level::debug, escape_controls(text));
}

void log_info(const std::string& text) {
  if (current_rank == 0) {
    logger().log(spdlog::level::info, escape_controls(text));
  }
}

void log_warning(const std::string& text) {
  logger().log(spdlog::level::warn, escape_controls(text));
}

void log_warning_once(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string> printed;
  const std::lock_guard lock(mutex);
  if (current_rank == 0 && printed.insert(text).second) {
    log_warning(text);
  }
}

void log_error(const std::string& text) { logger().log(spdlog::level::err, escape_controls(text)); }

}  // namespace growmerge
