// Numbers as a person reads them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace growmerge {

/// "1.5 GB", "12.3 kB".
[[nodiscard]] std::string format_bytes(double bytes);
/// "1.2e+15 FLOP" as "1.20 PFLOP".
[[nodiscard]] std::string format_flops(double flops);
/// "1,234,567".
[[nodiscard]] std::string format_count(std::int64_t count);
/// printf with one number.
[[nodiscard]] std::string format_number(const char* format, double value);
/// "[2, 3]".
[[nodiscard]] std::string shape_text(const std::vector<std::int64_t>& shape);
/// "1:05", "2:00:09".
[[nodiscard]] std::string duration_text(double seconds);

}  // namespace growmerge
