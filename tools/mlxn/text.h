// Text for people: foreign strings made harmless, quantities with units, aligned tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mlxn {

/// `text` as UTF-8 that no terminal obeys: control characters (but for newline and tab), characters that reorder text,
/// and bytes that are not UTF-8 become \xNN or \u{NNNN}.
std::string printable(std::string_view text);
/// The same on one line: newline and tab become \n and \t.
std::string printable_line(std::string_view text);

/// At most `bytes` bytes of `text`, cut between characters, and "..." where that is not all.
inline constexpr std::size_t kShownBytes = 100;
std::string abbreviated(const std::string& text, std::size_t bytes = kShownBytes);

/// Columns of a terminal that `text` takes, as far as counting characters tells.
std::size_t width(std::string_view text);

/// Lines of at most 80 columns, broken at spaces. What a line that begins with a space says after its 30th column (the
/// help of an option) goes on under that column.
std::string wrapped(std::string_view text);

/// "1.50 GiB", "512 B".
std::string bytes_text(std::uint64_t bytes);
/// "16.30 M", "7.24 B": the letters of llama.cpp.
std::string count_text(std::uint64_t count);

/// Rows of cells, the first row being the heads; columns as wide as their widest cell.
struct Table {
  std::vector<bool> right;  ///< of each column: aligned to the right
  std::vector<std::vector<std::string>> rows;

  std::string text(std::string_view indent = "") const;
  /// In Markdown, as llama-bench prints its tables.
  std::string markdown() const;
};

}  // namespace mlxn
