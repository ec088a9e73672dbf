#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

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

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::filesystem::path& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  // O_NONBLOCK: the open of a FIFO that nobody writes would wait for ever.
  file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (file->descriptor_ < 0) return io_error(path, "open");
  struct stat status;
  if (::fstat(file->descriptor_, &status) != 0) return io_error(path, "examine");
  if (!S_ISREG(status.st_mode))
    return error(ErrorKind::IoError, "cannot open {}: it is {}, not a regular file", path.string(),
                 file_kind(status.st_mode));
  if (status.st_size == 0) return file;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file->descriptor_, 0);
  if (start == MAP_FAILED) return io_error(path, "map");
  file->bytes_ = {static_cast<const std::uint8_t*>(start), size};
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
  if (descriptor_ < 0) return;
  if (!bytes_.empty()) ::munmap(const_cast<std::uint8_t*>(bytes_.data()), bytes_.size());
  ::close(descriptor_);
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
