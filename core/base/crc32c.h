// CRC-32C (Castagnoli; polynomial 0x1EDC6F41, reflected), the checksum of iSCSI, ext4 and leveldb.
// Uses the processor's instruction where there is one, a table elsewhere; both give the same value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace growmerge {

/// The checksum of `size` bytes. To continue over several pieces, pass the value so far as `crc`.
[[nodiscard]] std::uint32_t crc32c(const void* bytes, std::size_t size, std::uint32_t crc = 0);

/// The same by table alone; tests hold the two against each other.
[[nodiscard]] std::uint32_t crc32c_table(const void* bytes, std::size_t size,
                                         std::uint32_t crc = 0);

}  // namespace growmerge
