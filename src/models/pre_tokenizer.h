// Cuts a text into the words inside of which byte pairs are merged. Each family of models was trained with one regular
// expression; what stands here are those expressions as state machines, linear in the text's length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mlx_native {

/// What `tokenizer.ggml.pre` names.
struct PreTokenizer {
  std::string_view name;
  /// Position after the word that starts at `position` < text.size().
  std::size_t (*word_end)(std::string_view text, std::size_t position);
  /// A word that is a token as a whole is that token, whatever the merges would make of it.
  bool whole_words;
  /// Whether prompts start with the token bos where the file does not say.
  bool adds_bos;
};

/// All that are known.
std::span<const PreTokenizer> pre_tokenizers();

/// Null for an unknown name.
const PreTokenizer* find_pre_tokenizer(std::string_view name);

}  // namespace mlx_native
