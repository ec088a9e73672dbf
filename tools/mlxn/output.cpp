#include "output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "command.h"
#include "text.h"

namespace mlxn {

namespace {

[[noreturn]] void fail() { throw Failure(fmt::format("cannot write to standard output: {}", std::strerror(errno))); }

}  // namespace

void write_output(std::string_view text, bool flush) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail();
  if (flush) flush_output();
}

void flush_output() {
  if (std::fflush(stdout) != 0) fail();
}

void write_json(const Json& value) { write_output(value.dump(2, ' ', true, Json::error_handler_t::replace) + "\n"); }

void write_error(std::string_view text) {
  (void)std::fwrite(text.data(), 1, text.size(), stderr);
  (void)std::fflush(stderr);
}

bool output_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

Progress::Progress(std::uint64_t total)
    : terminal_(::isatty(STDERR_FILENO) == 1), total_(std::max<std::uint64_t>(total, 1)) {}

Progress::~Progress() {
  if (terminal_) write_error("\r\033[K");
}

void Progress::show(std::uint64_t done, std::string_view label) {
  constexpr auto kInterval = std::chrono::milliseconds(100);
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now - last_ < kInterval) return;
  last_ = now;
  constexpr std::size_t kWidth = 30;
  const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const auto filled = static_cast<std::size_t>(part * kWidth);
  write_error(fmt::format("\r\033[K[{}{}] {:3.0f} % {}", std::string(filled, '#'), std::string(kWidth - filled, '.'),
                          100 * part, printable_line(label)));
}

}  // namespace mlxn
