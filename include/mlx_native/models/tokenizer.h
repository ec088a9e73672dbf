#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/error.h"
#include "mlx_native/gguf.h"

namespace [[gnu::visibility("default")]] mlx_native {

/// What a token is, numbered as in `tokenizer.ggml.token_type`.
enum class TokenKind : std::uint8_t {
  Undefined = 0,
  Normal = 1,
  Unknown = 2,
  Control = 3,      ///< steers the model: "<|im_start|>"
  UserDefined = 4,  ///< a word that is one token wherever it stands
  Unused = 5,
  Byte = 6,  ///< "<0xE4>"
};

/// A vocabulary of byte-level BPE, as a GGUF file spells it: normal tokens and merges in GPT-2's alphabet of 256
/// printable characters for the 256 bytes, all other tokens as they are.
struct Vocabulary {
  std::string pre;                    ///< how text is cut into words: `tokenizer.ggml.pre`
  std::vector<std::string> tokens;    ///< by id
  std::vector<TokenKind> kinds = {};  ///< of every token; empty: all are normal
  std::vector<std::string> merges;    ///< "left right", most important first
  std::optional<std::uint32_t> bos = {};
  std::vector<std::uint32_t> ends = {};  ///< end of text, of turn, of message
  std::optional<bool> add_bos = {};      ///< unset: as models of this `pre` have it
};

/// Byte-level BPE. Cheap to copy, thread-safe. Every text, UTF-8 or not, is encoded without loss; the ids are those of
/// the models' own tokenizers.
class Tokenizer {
 public:
  Tokenizer(const Tokenizer&) = default;
  Tokenizer& operator=(const Tokenizer&) = default;

  /// Reads the keys `tokenizer.ggml.*`. GgufParseError, naming the key, where they are missing, of another type, out of
  /// range or do not fit each other, or where model or pre is none that is known.
  static Result<Tokenizer> load(const GgufFile& file);
  /// GgufParseError for a repeated token, a missing token for one of the 256 bytes, a merge that names an unknown token
  /// or makes one, ids out of range.
  static Result<Tokenizer> create(Vocabulary vocabulary);

  std::uint32_t vocab_size() const;
  std::optional<std::uint32_t> bos() const;
  bool adds_bos() const;
  /// Whether text ends with this token.
  bool is_end(std::uint32_t id) const;
  /// Ascending.
  std::span<const std::uint32_t> end_tokens() const;
  TokenKind kind(std::uint32_t id) const;  ///< Undefined for an id >= vocab_size()
  /// The token of exactly these bytes; nullopt where there is none.
  std::optional<std::uint32_t> find(std::string_view bytes) const;

  /// Whether "<|im_end|>" in a text is that token or just ten characters. Untrusted text should be Plain.
  enum class SpecialTokens { Recognised, Plain };

  /// Ids of a text, without bos. Time n log n in its length. InvalidArgument for 2 GiB and more.
  Result<std::vector<std::uint32_t>> encode(std::string_view text,
                                            SpecialTokens special = SpecialTokens::Recognised) const;
  /// The same behind bos, where the model wants one.
  Result<std::vector<std::uint32_t>> encode_prompt(std::string_view text,
                                                   SpecialTokens special = SpecialTokens::Recognised) const;

  /// The token's bytes, which may be part of a character; empty for an id >= vocab_size().
  std::string_view bytes(std::uint32_t id) const;
  /// Bytes of all tokens, control tokens included. InvalidArgument for an id >= vocab_size().
  Result<std::string> decode(std::span<const std::uint32_t> ids) const;

 private:
  struct State;
  explicit Tokenizer(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Makes text of tokens as they come: holds back the bytes of a character that is not complete and gives U+FFFD for
/// bytes that cannot become one, so that what it returns is always UTF-8. Control tokens give no text.
class TextStream {
 public:
  explicit TextStream(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

  std::string push(std::uint32_t id);
  /// The rest; U+FFFD where it is not complete.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  std::string pending_;
};

}  // namespace mlx_native
