#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace mlxn {

namespace {

/// Length of the UTF-8 character that starts at text[i], its code in `code`; 0 where there is none.
std::size_t decode(std::string_view text, std::size_t i, std::uint32_t& code) {
  const auto byte = [&](std::size_t j) { return static_cast<unsigned char>(text[j]); };
  const unsigned lead = byte(i);
  const std::size_t length = lead < 0x80   ? 1
                             : lead < 0xc2 ? 0
                             : lead < 0xe0 ? 2
                             : lead < 0xf0 ? 3
                             : lead < 0xf5 ? 4
                                           : 0;
  if (length == 0 || text.size() - i < length) return 0;
  code = length == 1 ? lead : lead & (0x7fu >> length);
  for (std::size_t j = i + 1; j < i + length; ++j) {
    if ((byte(j) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(j) & 0x3fu);
  }
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  return code < kLeast[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : length;
}

/// C0 and C1 controls, separators and marks that move or reorder what follows on a terminal.
bool is_unsafe(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || (code >= 0x200b && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
         (code >= 0xfff9 && code <= 0xfffb) || code >= 0xe0000;
}

std::string escape(std::string_view text, bool one_line) {
  std::string result;
  for (std::size_t i = 0; i < text.size();) {
    std::uint32_t code = 0;
    const std::size_t length = decode(text, i, code);
    if (length == 0)
      fmt::format_to(std::back_inserter(result), "\\x{:02x}", static_cast<unsigned char>(text[i]));
    else if (code == '\n' || code == '\t')
      result += one_line ? (code == '\n' ? "\\n" : "\\t") : text.substr(i, 1);
    else if (is_unsafe(code))
      result += code < 0x80 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{{{:04x}}}", code);
    else
      result += text.substr(i, length);
    i += std::max<std::size_t>(length, 1);
  }
  return result;
}

std::string padded(const std::string& cell, std::size_t columns, bool right) {
  const std::string space(columns - std::min(columns, width(cell)), ' ');
  return right ? space + cell : cell + space;
}

std::vector<std::size_t> widths(const Table& table) {
  std::vector<std::size_t> result(table.right.size(), 0);
  for (const auto& row : table.rows)
    for (std::size_t c = 0; c < row.size(); ++c) result[c] = std::max(result[c], width(row[c]));
  return result;
}

}  // namespace

std::string printable(std::string_view text) { return escape(text, false); }
std::string printable_line(std::string_view text) { return escape(text, true); }

std::string abbreviated(const std::string& text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (text[bytes] & 0xc0) == 0x80) --bytes;
  return text.substr(0, bytes) + "...";
}

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string wrapped(std::string_view text) {
  constexpr std::size_t kColumns = 80, kHelp = 30;
  std::string result;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t hang = line.starts_with(' ') ? kHelp : 0;
    for (std::size_t indent = 0;; indent = hang) {
      result.append(line.empty() ? 0 : indent, ' ');
      const std::size_t room = kColumns - indent;
      const std::size_t space = line.rfind(' ', room);
      if (line.size() <= room || space == line.npos || space < hang - indent) break;
      result.append(line.substr(0, space)).append("\n");
      line.remove_prefix(space + 1);
    }
    result.append(line).append("\n");
  }
  return result;
}

std::string bytes_text(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return fmt::format("{:.2f} {}", value, kUnits[unit]);
}

std::string count_text(std::uint64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.2f} B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.2f} M", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.2f} K", value / 1e3);
  return fmt::format("{}", count);
}

std::string Table::text(std::string_view indent) const {
  const auto columns = widths(*this);
  std::string result;
  for (const auto& row : rows) {
    std::string line(indent);
    for (std::size_t c = 0; c < row.size(); ++c) line += padded(row[c], columns[c], right[c]) + "  ";
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + "\n";
  }
  return result;
}

std::string Table::markdown() const {
  auto columns = widths(*this);
  for (auto& column : columns) column = std::max<std::size_t>(column, 2);  // "-:" is the least that says right
  std::string result;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < rows[r].size(); ++c) result += "| " + padded(rows[r][c], columns[c], right[c]) + " ";
    result += "|\n";
    if (r != 0) continue;
    for (std::size_t c = 0; c < columns.size(); ++c)
      result += "| " + std::string(columns[c] - (right[c] ? 1 : 0), '-') + (right[c] ? ":" : "") + " ";
    result += "|\n";
  }
  return result;
}

}  // namespace mlxn
