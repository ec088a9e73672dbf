// What the keys `tokenizer.ggml.*` of a file say.

#include <algorithm>

#include "mlx_native/models/tokenizer.h"
#include "models/malformed.h"

namespace mlx_native {
namespace {

/// Tokens that end a text or a turn, by the names that model families gave them; files often name only one of them, and
/// some have them as user-defined, which llama.cpp takes for a mistake.
constexpr std::string_view kEndNames[] = {"<|endoftext|>", "<|end_of_text|>", "<|im_end|>",
                                          "<|eot_id|>",    "<|eom_id|>",      "<|end|>"};

Result<std::string> required_string(const GgufFile& file, std::string_view key) {
  const MetadataValue* value = file.metadata(key);
  if (!value) return malformed("{} is missing", key);
  if (!value->as_string()) return malformed("{} is not a string", key);
  return *value->as_string();
}

Result<std::vector<std::string>> required_strings(const GgufFile& file, std::string_view key) {
  const MetadataValue* value = file.metadata(key);
  if (!value) return malformed("{} is missing", key);
  const auto* strings = value->as_array<std::string>();
  if (!strings) return malformed("{} is not an array of strings", key);
  return *strings;
}

Result<std::optional<std::uint32_t>> token_id(const GgufFile& file, std::string_view key, std::size_t n_tokens) {
  const MetadataValue* value = file.metadata(key);
  if (!value) return std::nullopt;
  const auto id = value->as_u32();
  if (!id) return malformed("{} is not an unsigned 32-bit integer", key);
  if (*id >= n_tokens) return malformed("{} is {}, but there are {} tokens", key, *id, n_tokens);
  return id;
}

Result<std::vector<TokenKind>> token_kinds(const GgufFile& file, std::size_t n_tokens) {
  constexpr std::string_view key = "tokenizer.ggml.token_type";
  const MetadataValue* value = file.metadata(key);
  if (!value) return std::vector<TokenKind>();
  std::vector<TokenKind> kinds;
  const auto read = [&](const auto& numbers) -> Result<void> {
    if (numbers.size() != n_tokens) return malformed("{} has {} entries for {} tokens", key, numbers.size(), n_tokens);
    for (const auto number : numbers) {
      if (number < 0 || number > 6) return malformed("{}[{}] is {}; known are 0 to 6", key, kinds.size(), number);
      kinds.push_back(static_cast<TokenKind>(number));
    }
    return {};
  };
  if (const auto* numbers = value->as_array<std::int32_t>()) {
    MLXN_TRY(read(*numbers));
  } else if (const auto* unsigned_numbers = value->as_array<std::uint32_t>()) {
    MLXN_TRY(read(std::vector<std::int64_t>(unsigned_numbers->begin(), unsigned_numbers->end())));
  } else {
    return malformed("{} is not an array of 32-bit integers", key);
  }
  return kinds;
}

Result<Vocabulary> read_vocabulary(const GgufFile& file) {
  MLXN_ASSIGN(const std::string model, required_string(file, "tokenizer.ggml.model"));
  if (model != "gpt2")
    return malformed("tokenizer.ggml.model is \"{}\"; byte-level BPE, \"gpt2\", is what can be read", model);
  Vocabulary vocabulary;
  MLXN_ASSIGN(vocabulary.pre, required_string(file, "tokenizer.ggml.pre"));
  MLXN_ASSIGN(vocabulary.tokens, required_strings(file, "tokenizer.ggml.tokens"));
  MLXN_ASSIGN(vocabulary.merges, required_strings(file, "tokenizer.ggml.merges"));
  const std::size_t n = vocabulary.tokens.size();
  MLXN_ASSIGN(vocabulary.kinds, token_kinds(file, n));
  if (const MetadataValue* scores = file.metadata("tokenizer.ggml.scores"); scores && scores->array_size() != n)
    return malformed("tokenizer.ggml.scores is not an array of {} entries, one for each token", n);
  MLXN_ASSIGN(vocabulary.bos, token_id(file, "tokenizer.ggml.bos_token_id", n));
  for (const std::string_view key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    MLXN_ASSIGN(const auto id, token_id(file, key, n));
    if (id) vocabulary.ends.push_back(*id);
  }
  for (std::uint32_t id = 0; id < vocabulary.kinds.size(); ++id) {
    const TokenKind kind = vocabulary.kinds[id];
    if ((kind == TokenKind::Control || kind == TokenKind::UserDefined) &&
        std::ranges::count(kEndNames, vocabulary.tokens[id]))
      vocabulary.ends.push_back(id);
  }
  if (const MetadataValue* add = file.metadata("tokenizer.ggml.add_bos_token")) {
    vocabulary.add_bos = add->as_bool();
    if (!vocabulary.add_bos) return malformed("tokenizer.ggml.add_bos_token is not a boolean");
  }
  return vocabulary;
}

}  // namespace

Result<Tokenizer> Tokenizer::load(const GgufFile& file) {
  MLXN_ASSIGN(Vocabulary vocabulary, read_vocabulary(file));
  return create(std::move(vocabulary));
}

}  // namespace mlx_native
