// Any bytes as text for the vocabulary of an embedded model: they come back, whole and as a stream. The first byte
// chooses how text is cut into words and whether special tokens are recognised; the rest is the text.
#include "mlx_native/models/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mlx_native/gguf.h"
#include "models/pre_tokenizer.h"

namespace {

using namespace mlx_native;

void check(bool right) {
  if (!right) __builtin_trap();
}

/// One tokenizer per way to cut text. Tokens that stand for themselves wherever they are found begin alike, hold
/// others, and hold white space.
std::vector<Tokenizer> tokenizers() {
  const auto file = GgufFile::open(MLXN_SOURCE_DIR "/share/models/docs-dense.q4_k_m.gguf");
  check(file.has_value());
  std::vector<Tokenizer> all;
  for (const PreTokenizer& pre : pre_tokenizers()) {
    Vocabulary vocabulary{.pre = std::string(pre.name),
                          .tokens = *file->metadata("tokenizer.ggml.tokens")->as_array<std::string>(),
                          .merges = *file->metadata("tokenizer.ggml.merges")->as_array<std::string>()};
    vocabulary.kinds.assign(vocabulary.tokens.size(), TokenKind::Normal);
    vocabulary.kinds[0] = TokenKind::Control;
    for (const auto& [text, kind] : {std::pair{"<|a|>", TokenKind::Control},
                                     {"<|a|><|b|>", TokenKind::Control},
                                     {"<|", TokenKind::UserDefined},
                                     {"  ", TokenKind::UserDefined},
                                     {" \n", TokenKind::UserDefined}}) {
      vocabulary.tokens.emplace_back(text);
      vocabulary.kinds.push_back(kind);
    }
    auto made = Tokenizer::create(std::move(vocabulary));
    check(made.has_value());
    all.push_back(std::move(*made));
  }
  return all;
}

/// By the table of well-formed byte sequences (Unicode 15, table 3-7).
bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) { return at < text.size() ? static_cast<std::uint8_t>(text[at]) : 0u; };
    const unsigned first = byte(i), second = byte(i + 1);
    const int more = first < 0x80 ? 0 : first < 0xc2 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : -1;
    if (more < 0) return false;
    for (int j = 1; j <= more; ++j)
      if (byte(i + static_cast<std::size_t>(j)) >> 6 != 2) return false;
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f))
      return false;
    i += static_cast<std::size_t>(more) + 1;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Tokenizer> all = tokenizers();
  if (size == 0) return 0;
  const Tokenizer& tokenizer = all[data[0] / 2 % all.size()];
  const bool plain = data[0] % 2;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);

  const auto ids =
      tokenizer.encode(text, plain ? Tokenizer::SpecialTokens::Plain : Tokenizer::SpecialTokens::Recognised);
  check(ids.has_value() && ids->size() <= text.size());
  const auto decoded = tokenizer.decode(*ids);
  check(decoded.has_value() && *decoded == text);

  TextStream stream(tokenizer);
  std::string streamed;
  bool control = false;
  for (const std::uint32_t id : *ids) {
    control |= tokenizer.kind(id) == TokenKind::Control;
    const std::string piece = stream.push(id);
    check(is_utf8(piece));
    streamed += piece;
  }
  streamed += stream.finish();
  check(is_utf8(streamed) && !(plain && control));
  if (!control && is_utf8(text)) check(streamed == text);
  return 0;
}
