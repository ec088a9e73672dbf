// Byte pair encoding: which two neighbouring tokens become one, and in what order.
#pragma once

#include <cstdint>
#include <vector>

namespace mlx_native {

/// The rule `left right -> merged`; rules of lower rank go first.
struct Merge {
  std::uint32_t left;
  std::uint32_t right;
  std::uint32_t merged;
  std::uint32_t rank;
};

/// Rules sorted by their left token, with an index of where each left token's rules start: a lookup costs the logarithm
/// of the number of rules that share a left token, whatever a file makes them.
class MergeTable {
 public:
  MergeTable() = default;
  /// Of rules for the same pair the one of lowest rank counts. All ids are < n_tokens.
  MergeTable(std::vector<Merge> merges, std::uint32_t n_tokens);

  const Merge* find(std::uint32_t left, std::uint32_t right) const;

 private:
  std::vector<Merge> merges_;
  std::vector<std::uint32_t> first_of_left_;  ///< n_tokens + 1 indices into merges_
};

/// Merges one word at a time, in n log n: the tokens are a linked list, the possible merges a heap. Keeps its memory
/// from word to word.
class WordMerger {
 public:
  explicit WordMerger(const MergeTable& table) : table_(table) {}

  /// Appends to `out` what the tokens of `word` become when the merge of lowest rank, of equals the leftmost, is done
  /// until none is left. `word` has fewer than 2^31 tokens.
  void merge(const std::vector<std::uint32_t>& word, std::vector<std::uint32_t>& out);

 private:
  struct Symbol {
    std::uint32_t token;
    std::uint32_t previous;
    std::uint32_t next;
  };
  struct Candidate {
    std::uint32_t rank;
    std::uint32_t left;  ///< index into symbols_
    const Merge* merge;
  };
  void consider(std::uint32_t left);

  const MergeTable& table_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace mlx_native
