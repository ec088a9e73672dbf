#include "files/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace mlx_native {

namespace {

auto io_error(const char* what, const std::filesystem::path& path) {
  return error(ErrorKind::IoError, "cannot {} {}: {}", what, path.string(), std::strerror(errno));
}

// Linux moves at most 2^31 - 4096 bytes in one call.
constexpr std::size_t kMaxWrite = 1u << 30;
// Of the 255 bytes that a name may have, what a temporary one takes of it.
constexpr std::size_t kTemporaryName = 200;

}  // namespace

Result<OutputFile> OutputFile::create(const std::filesystem::path& path) {
  if (path.filename().empty()) return error(ErrorKind::IoError, "cannot write \"{}\": it names no file", path.string());
  struct stat status;
  // To rename over a device, say, would replace it.
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode))
    return error(ErrorKind::IoError, "cannot write {}: it exists and is not a regular file", path.string());
  // A rename would replace it all the same. Asked of the mode, as root may write any file.
  if (exists && (status.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0)
    return error(ErrorKind::IoError, "cannot write {}: it exists and is read-only", path.string());
  static std::atomic<unsigned> counter{0};
  OutputFile file;
  file.path_ = path;
  // Of a symbolic link the file that it leads to is replaced, not the link.
  std::error_code ignored;
  if (exists && std::filesystem::is_symlink(path, ignored))
    if (auto target = std::filesystem::canonical(path, ignored); !ignored) file.path_ = std::move(target);
  do {
    const std::string name = file.path_.filename().string().substr(0, kTemporaryName);
    file.temporary_ = file.path_.parent_path() / fmt::format("{}.tmp-{}-{}", name, ::getpid(), counter++);
    file.descriptor_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (file.descriptor_ < 0 && errno == EEXIST);
  if (file.descriptor_ < 0) return io_error("create", file.temporary_);
  // Some file systems keep none.
  if (exists) (void)::fchmod(file.descriptor_, status.st_mode & 0777);
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this == &other) return *this;
  discard();
  path_ = std::move(other.path_);
  temporary_ = std::move(other.temporary_);
  descriptor_ = std::exchange(other.descriptor_, -1);
  return *this;
}

Result<void> OutputFile::write(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMaxWrite));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error("write", temporary_);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> OutputFile::finish() {
  if (::fsync(descriptor_) != 0) return io_error("write", temporary_);
  // Some file systems report a full disk only here.
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    const auto failure = io_error("write", temporary_);
    ::unlink(temporary_.c_str());
    return failure;
  }
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const auto failure = io_error("rename a temporary file to", path_);
    ::unlink(temporary_.c_str());
    return failure;
  }
  return {};
}

void OutputFile::discard() noexcept {
  if (descriptor_ < 0) return;
  ::close(std::exchange(descriptor_, -1));
  ::unlink(temporary_.c_str());
}

}  // namespace mlx_native
