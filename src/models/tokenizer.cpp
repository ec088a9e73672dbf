#include "mlx_native/models/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "models/bpe.h"
#include "models/byte_alphabet.h"
#include "models/malformed.h"
#include "models/pre_tokenizer.h"
#include "models/token_index.h"

namespace mlx_native {
namespace {

/// A longer one has no use, and would make encoding slow: every place of a text is compared with all of them.
constexpr std::size_t kMaxSpecialBytes = 256;

/// "<0xE4>" is the byte 0xE4.
std::optional<std::string> byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') return std::nullopt;
  std::uint8_t byte = 0;
  const char *digits = text.data() + 3, *end = text.data() + 5;
  if (std::from_chars(digits, end, byte, 16).ptr != end) return std::nullopt;
  return std::string(1, static_cast<char>(byte));
}

}  // namespace

struct Tokenizer::State {
  const PreTokenizer* pre;
  std::vector<std::string> bytes;  ///< by id
  std::vector<TokenKind> kinds;
  std::optional<std::uint32_t> bos;
  bool adds_bos;
  std::vector<std::uint32_t> ends;
  TokenIndex normal, special, user_defined;
  std::array<std::uint32_t, 256> token_of_byte;
  MergeTable merges;

  void encode_plain(std::string_view text, WordMerger& merger, std::vector<std::uint32_t>& ids) const;
};

namespace {

Result<std::vector<std::string>> token_bytes(const Vocabulary& vocabulary, std::span<const TokenKind> kinds) {
  std::vector<std::string> bytes;
  bytes.reserve(kinds.size());
  for (std::size_t id = 0; id < kinds.size(); ++id) {
    const std::string& text = vocabulary.tokens[id];
    std::optional<std::string> spelled = text;
    // A normal token with other characters is kept as it is; no merge can make it.
    if (kinds[id] == TokenKind::Normal) spelled = bytes_of_alphabet(text).value_or(text);
    if (kinds[id] == TokenKind::Byte) spelled = byte_token(text);
    if (!spelled)
      return malformed("token {} is of the kind byte, which is written <0x00> to <0xFF>, not \"{}\"", id, text);
    const bool special = kinds[id] == TokenKind::Control || kinds[id] == TokenKind::UserDefined;
    if (special && text.size() > kMaxSpecialBytes)
      return malformed("special token {} has {} bytes; at most {} are allowed", id, text.size(), kMaxSpecialBytes);
    bytes.push_back(std::move(*spelled));
  }
  return bytes;
}

Result<MergeTable> read_merges(std::span<const std::string> rules, const TokenIndex& tokens, std::uint32_t n_tokens) {
  std::vector<Merge> merges;
  merges.reserve(rules.size());
  for (std::uint32_t rank = 0; rank < rules.size(); ++rank) {
    const std::string_view rule = rules[rank];
    const std::size_t space = rule.find(' ');
    if (space == rule.npos || space == 0 || space + 1 == rule.size())
      return malformed("merge {}, \"{}\", is not two tokens with a space between them", rank, rule);
    const auto left = bytes_of_alphabet(rule.substr(0, space)), right = bytes_of_alphabet(rule.substr(space + 1));
    const auto id = [&](const std::optional<std::string>& bytes) { return bytes ? tokens.find(*bytes) : std::nullopt; };
    const auto left_id = id(left), right_id = id(right);
    if (!left_id || !right_id) return malformed("merge {}, \"{}\", names an unknown token", rank, rule);
    const auto merged_id = tokens.find(*left + *right);
    if (!merged_id) return malformed("merge {}, \"{}\", makes an unknown token", rank, rule);
    merges.push_back({*left_id, *right_id, *merged_id, rank});
  }
  return MergeTable(std::move(merges), n_tokens);
}

}  // namespace

Result<Tokenizer> Tokenizer::create(Vocabulary vocabulary) {
  const std::size_t n = vocabulary.tokens.size();
  if (n == 0 || n > INT32_MAX) return malformed("the vocabulary has {} tokens; 1 to 2^31 - 1 are possible", n);
  if (vocabulary.merges.size() > INT32_MAX)
    return malformed("{} merges; at most 2^31 - 1 are possible", vocabulary.merges.size());
  std::vector<TokenKind> kinds = std::move(vocabulary.kinds);
  if (kinds.empty()) kinds.assign(n, TokenKind::Normal);
  if (kinds.size() != n) return malformed("{} token kinds for {} tokens", kinds.size(), n);
  const PreTokenizer* pre = find_pre_tokenizer(vocabulary.pre);
  if (!pre) {
    std::string known;
    for (const PreTokenizer& p : pre_tokenizers()) known += fmt::format("{}{}", known.empty() ? "" : ", ", p.name);
    return malformed("unknown pre-tokenizer \"{}\"; known are {}", vocabulary.pre, known);
  }
  if (vocabulary.bos && *vocabulary.bos >= n) return malformed("bos token {} of {} tokens", *vocabulary.bos, n);
  const bool adds_bos = vocabulary.add_bos.value_or(pre->adds_bos && vocabulary.bos);
  if (adds_bos && !vocabulary.bos) return malformed("prompts shall start with the token bos, but there is none");
  for (const std::uint32_t end : vocabulary.ends)
    if (end >= n) return malformed("end token {} of {} tokens", end, n);
  std::ranges::sort(vocabulary.ends);
  vocabulary.ends.erase(std::ranges::unique(vocabulary.ends).begin(), vocabulary.ends.end());

  MLXN_ASSIGN(std::vector<std::string> bytes, token_bytes(vocabulary, kinds));
  const auto index_of = [&](std::initializer_list<TokenKind> wanted) {
    std::vector<std::uint32_t> ids;
    for (std::uint32_t id = 0; id < n; ++id)
      if (std::ranges::find(wanted, kinds[id]) != wanted.end()) ids.push_back(id);
    return TokenIndex(bytes, ids);
  };
  TokenIndex normal = index_of({TokenKind::Normal});
  TokenIndex special = index_of({TokenKind::Control, TokenKind::UserDefined});
  TokenIndex user_defined = index_of({TokenKind::UserDefined});
  for (const TokenIndex* index : {&normal, &special})
    if (const auto twins = index->repeated())
      return malformed("tokens {} and {} are the same, \"{}\"", (*twins)[0], (*twins)[1],
                       vocabulary.tokens[(*twins)[0]]);

  std::array<std::uint32_t, 256> token_of_byte{};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const auto id = normal.find({&c, 1});
    if (!id) return malformed("the vocabulary has no token for the byte 0x{:02X}", byte);
    token_of_byte[byte] = *id;
  }
  MLXN_ASSIGN(MergeTable merges, read_merges(vocabulary.merges, normal, static_cast<std::uint32_t>(n)));
  return Tokenizer(std::make_shared<const State>(
      State{pre, std::move(bytes), std::move(kinds), vocabulary.bos, adds_bos, std::move(vocabulary.ends),
            std::move(normal), std::move(special), std::move(user_defined), token_of_byte, std::move(merges)}));
}

void Tokenizer::State::encode_plain(std::string_view text, WordMerger& merger, std::vector<std::uint32_t>& ids) const {
  std::vector<std::uint32_t> symbols;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t end = pre->word_end(text, position);
    const std::string_view word = text.substr(position, end - position);
    position = end;
    if (const auto whole = pre->whole_words ? normal.find(word) : std::nullopt) {
      ids.push_back(*whole);
      continue;
    }
    symbols.clear();
    for (const char byte : word) symbols.push_back(token_of_byte[static_cast<std::uint8_t>(byte)]);
    merger.merge(symbols, ids);
  }
}

Result<std::vector<std::uint32_t>> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  if (text.size() > INT32_MAX) return invalid("a text of {} bytes; less than 2 GiB can be encoded", text.size());
  const TokenIndex& recognised = special == SpecialTokens::Recognised ? state_->special : state_->user_defined;
  WordMerger merger(state_->merges);
  std::vector<std::uint32_t> ids;
  std::size_t plain = 0;
  for (std::size_t position = 0; position < text.size();) {
    const auto match = recognised.longest_prefix(text.substr(position));
    if (!match) {
      ++position;
      continue;
    }
    state_->encode_plain(text.substr(plain, position - plain), merger, ids);
    ids.push_back(match->id);
    plain = position += match->length;
  }
  state_->encode_plain(text.substr(plain), merger, ids);
  return ids;
}

Result<std::vector<std::uint32_t>> Tokenizer::encode_prompt(std::string_view text, SpecialTokens special) const {
  MLXN_ASSIGN(std::vector<std::uint32_t> ids, encode(text, special));
  if (adds_bos()) ids.insert(ids.begin(), *state_->bos);
  return ids;
}

std::uint32_t Tokenizer::vocab_size() const { return static_cast<std::uint32_t>(state_->bytes.size()); }
std::optional<std::uint32_t> Tokenizer::bos() const { return state_->bos; }
bool Tokenizer::adds_bos() const { return state_->adds_bos; }
bool Tokenizer::is_end(std::uint32_t id) const { return std::ranges::binary_search(state_->ends, id); }
std::span<const std::uint32_t> Tokenizer::end_tokens() const { return state_->ends; }
TokenKind Tokenizer::kind(std::uint32_t id) const {
  return id < vocab_size() ? state_->kinds[id] : TokenKind::Undefined;
}

std::optional<std::uint32_t> Tokenizer::find(std::string_view bytes) const {
  const auto normal = state_->normal.find(bytes);
  return normal ? normal : state_->special.find(bytes);
}

std::string_view Tokenizer::bytes(std::uint32_t id) const {
  return id < vocab_size() ? std::string_view(state_->bytes[id]) : std::string_view();
}

Result<std::string> Tokenizer::decode(std::span<const std::uint32_t> ids) const {
  std::string text;
  for (const std::uint32_t id : ids) {
    if (id >= vocab_size()) return invalid("token {} of a vocabulary of {}", id, vocab_size());
    text += bytes(id);
  }
  return text;
}

}  // namespace mlx_native
