// Standard output, where a write that fails ends the command, and standard error with its progress bar.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mlxn {

/// Objects keep the order in which their keys were added.
using Json = nlohmann::ordered_json;

/// Throws Failure where the text cannot be written. `flush` for text that shall be seen now.
void write_output(std::string_view text, bool flush = false);
void flush_output();
/// One value, indented by two, ASCII only, so that no foreign string reaches a terminal as it is. Bytes that are not
/// UTF-8 become U+FFFD, NaN and infinity null.
void write_json(const Json& value);

bool output_is_terminal();

/// To standard error, where a write that fails has nobody to tell.
void write_error(std::string_view text);

/// A bar on stderr while it lives: nothing is drawn unless stderr is a terminal, and nothing is left at the end.
class Progress {
 public:
  explicit Progress(std::uint64_t total);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  void show(std::uint64_t done, std::string_view label);

 private:
  bool terminal_;
  std::uint64_t total_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace mlxn
