#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/system_memory.h"

namespace mlx_native {

namespace {

auto io_error(const std::filesystem::path& path, const char* what) {
  return error(ErrorKind::IoError, "cannot {} {}: {}", what, path.string(), std::strerror(errno));
}

const char* file_kind(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

/// Reads `size` bytes from the start on; 0 or an error number. By several threads: one alone is bound by the zeroing of
/// new pages and the copy, at 4 GB/s.
int read_all(int descriptor, std::uint8_t* to, std::size_t size) {
  constexpr std::size_t kPiece = std::size_t{8} << 20;  // whole large pages
  constexpr std::size_t kThreads = 8;
  std::atomic<std::size_t> next{0};
  std::atomic<int> failure{0};
  const auto work = [&] {
    for (std::size_t at; failure.load() == 0 && (at = next.fetch_add(kPiece)) < size;)
      for (const std::size_t end = std::min(size, at + kPiece); at < end;) {
        const ssize_t got = ::pread(descriptor, to + at, end - at, static_cast<off_t>(at));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
          failure = got < 0 ? errno : ENODATA;
          return;
        }
        at += static_cast<std::size_t>(got);
      }
  };
  std::vector<std::jthread> others;
  const std::size_t threads = std::min({kThreads, size / kPiece, std::size_t{std::thread::hardware_concurrency()}});
  try {
    for (std::size_t i = 1; i < threads; ++i) others.emplace_back(work);
  } catch (const std::system_error&) {
    // The threads that could be started do it.
  }
  work();
  others.clear();
  return failure;
}

}  // namespace

Result<std::size_t> MappedFile::open_regular() {
  if (path_.empty()) return error(ErrorKind::IoError, "cannot open \"\": an empty path names no file");
  // O_NONBLOCK: the open of a FIFO that nobody writes would wait for ever.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (descriptor_ < 0) return io_error(path_, "open");
  struct stat status;
  if (::fstat(descriptor_, &status) != 0) return io_error(path_, "examine");
  if (!S_ISREG(status.st_mode))
    return error(ErrorKind::IoError, "cannot open {}: it is {}, not a regular file", path_.string(),
                 file_kind(status.st_mode));
  return static_cast<std::size_t>(status.st_size);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::filesystem::path& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  MLXN_ASSIGN(const std::size_t size, file->open_regular());
  if (size == 0) return file;
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file->descriptor_, 0);
  if (start == MAP_FAILED) return io_error(path, "map");
  file->bytes_ = {static_cast<const std::uint8_t*>(start), size};
  file->mapped_ = true;
  // From now on what is read from the disk goes to large pages of the cache, where the file system has them, and stays.
  (void)::madvise(start, size, MADV_HUGEPAGE);
  return file;
}

Result<std::shared_ptr<const MappedFile>> MappedFile::read(const std::filesystem::path& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  MLXN_ASSIGN(const std::size_t size, file->open_regular());
  if (size > 0) {
    const auto no_memory = [&] {
      return error(ErrorKind::BufferAllocationError, "{} needs {} bytes of memory, {} are available", path.string(),
                   size, available_memory());
    };
    if (size > available_memory()) return no_memory();
    void* start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return no_memory();
    file->bytes_ = {static_cast<const std::uint8_t*>(start), size};
    file->mapped_ = true;
    (void)::madvise(start, size, MADV_HUGEPAGE);
    if (const int failure = read_all(file->descriptor_, static_cast<std::uint8_t*>(start), size)) {
      errno = failure;
      return io_error(path, "read");
    }
    (void)::mprotect(start, size, PROT_READ);
  }
  ::close(std::exchange(file->descriptor_, -1));
  return file;
}

std::shared_ptr<const MappedFile> MappedFile::in_memory(std::vector<std::uint8_t> bytes) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = "(memory)";
  file->memory_ = std::move(bytes);
  file->bytes_ = file->memory_;
  return file;
}

MappedFile::~MappedFile() {
  if (mapped_) ::munmap(const_cast<std::uint8_t*>(bytes_.data()), bytes_.size());
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<void> MappedFile::check_not_shrunk() const {
  if (descriptor_ < 0) return {};
  struct stat status;
  if (::fstat(descriptor_, &status) != 0) return io_error(path_, "examine");
  if (static_cast<std::uint64_t>(status.st_size) < bytes_.size())
    return error(ErrorKind::IoError, "{} has shrunk from {} to {} bytes since it was opened", path_.string(),
                 bytes_.size(), status.st_size);
  return {};
}

}  // namespace mlx_native
