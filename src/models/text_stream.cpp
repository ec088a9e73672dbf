#include "mlx_native/models/tokenizer.h"
#include "models/unicode.h"

namespace mlx_native {
namespace {

/// Moves what is decided out of `pending`; an incomplete character at the end stays.
std::string take_text(std::string& pending) {
  std::string text;
  std::size_t position = 0;
  while (position < pending.size()) {
    const Utf8Char c = decode_utf8(pending, position);
    if (c.state == Utf8Char::Incomplete) break;
    append_utf8(text, c.code);
    position += c.length;
  }
  pending.erase(0, position);
  return text;
}

}  // namespace

std::string TextStream::push(std::uint32_t id) {
  if (tokenizer_.kind(id) == TokenKind::Control) return {};
  pending_ += tokenizer_.bytes(id);
  return take_text(pending_);
}

std::string TextStream::finish() {
  std::string text;
  if (!pending_.empty()) append_utf8(text, 0xfffd);
  pending_.clear();
  return text;
}

}  // namespace mlx_native
