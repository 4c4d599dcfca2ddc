// Pipes, sockets and devices where a file is expected.
#pragma once

#include <filesystem>

namespace growmerge {

/// Refuses a path that is there and is neither a file nor a directory: a pipe would be waited for,
/// and a device such as /dev/zero read without end. Errors: kInvalidArgument naming what it is; kIo
/// where it cannot be looked at (permission, a loop of links, a name that is too long).
void check_no_special_file(const std::filesystem::path& path);

}  // namespace growmerge
