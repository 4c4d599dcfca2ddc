// Plain log lines on standard error: time, level, rank when there is more than one, text.
// Only launch configures it; every other room just calls log_info and friends. Rank 0 prints info,
// all ranks print warnings.
#pragma once

#include <string>

namespace growmerge {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

struct LogConfig {
  LogLevel level = LogLevel::kInfo;
  int rank = 0;
  int world_size = 1;
};

void configure_log(const LogConfig& config);
void log_debug(const std::string& text);
void log_info(const std::string& text);
void log_warning(const std::string& text);
/// A warning that rank 0 alone prints, and of equal ones only the first in this process.
void log_warning_once(const std::string& text);
void log_error(const std::string& text);

}  // namespace growmerge
