#include "core/base/failure.h"

#include <system_error>

namespace growmerge {

ErrorCode code_of(const std::exception& e) {
  if (const auto* error = dynamic_cast<const Error*>(&e)) {
    return error->code();
  }
  // std::filesystem::filesystem_error and std::ios_base::failure are among these.
  return dynamic_cast<const std::system_error*>(&e) != nullptr ? ErrorCode::kIo
                                                               : ErrorCode::kInternal;
}

}  // namespace growmerge
