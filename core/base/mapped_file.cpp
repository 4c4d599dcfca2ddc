#include "core/base/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge {
namespace {

/// A signal handler may neither lock nor allocate: it reads these as they are. A place without a
/// message is free; those beyond the array are not known, and end as any SIGBUS does.
struct Place {
  std::atomic<const std::byte*> begin{nullptr};
  std::atomic<std::uint64_t> size{0};
  std::atomic<char*> message{nullptr};
};
constexpr std::size_t kPlaces = 4096;
std::array<Place, kPlaces> places;
std::mutex places_mutex;  // of those who change them

std::size_t take_place(const std::byte* begin, std::uint64_t size, const std::string& path) {
  const std::lock_guard lock(places_mutex);
  for (std::size_t i = 0; i < kPlaces; ++i) {
    if (places[i].message.load() == nullptr) {
      places[i].begin = begin;
      places[i].size = size;
      places[i].message = ::strdup(concat("error: '", path,
                                          "' was cut short while it was read: put it back and run "
                                          "this stage again\n")
                                       .c_str());
      return i;
    }
  }
  return kPlaces;
}

void give_place_back(std::size_t place) {
  if (place < kPlaces) {
    const std::lock_guard lock(places_mutex);
    std::free(places[place].message.exchange(nullptr));
  }
}

void end_on_cut_file(int signal, siginfo_t* info, void*) {
  const auto* at = static_cast<const std::byte*>(info->si_addr);
  for (const Place& place : places) {
    const char* message = place.message.load();
    const std::byte* begin = place.begin.load();
    if (message != nullptr && at >= begin && at < begin + place.size.load()) {
      (void)!::write(STDERR_FILENO, message, std::strlen(message));
      ::_exit(exit_code(ErrorCode::kCorrupt));
    }
  }
  // Not ours: the instruction is tried again and ends as it would have; one that somebody sent is
  // sent again.
  std::signal(signal, SIG_DFL);
  if (info->si_code <= 0) {
    std::raise(signal);
  }
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path, int descriptor, std::uint64_t bytes,
                       Sharing sharing) {
  if (bytes == 0) {
    return;  // mmap refuses empty files
  }
  void* mapped = ::mmap(nullptr, bytes, PROT_READ,
                        sharing == Sharing::kPrivate ? MAP_PRIVATE : MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) {
    io_error(path, "mapping", errno);
  }
  data_ = static_cast<const std::byte*>(mapped);
  size_ = bytes;
  place_ = take_place(data_, size_, path.string());
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(place_, other.place_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    give_place_back(place_);
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
}

void watch_mapped_files() {
  struct sigaction action {};
  action.sa_sigaction = end_on_cut_file;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace growmerge
