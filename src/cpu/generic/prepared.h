// Rows of x in the form in which a way to multiply wants them.
#pragma once

#include "cpu/generic/route.h"
#include "cpu/team.h"

namespace mlx_native::cpu::MLXN_ISA {

/// What `Way` prepares of rows of k values: Way::row_bytes(k) bytes each, made in pieces of Way::kPiece values. Where
/// it says kSideBySide, a piece has Way::kPieceBytes and lies beside the same piece of the other rows.
template <class Way>
struct Prepared {
  static constexpr bool kSideBySide = requires { Way::kSideBySide; };

  uint8_t* memory;
  uint64_t all_rows = 0;  // needed where they lie side by side

  static K_FN uint64_t stride(uint64_t k) {
    if constexpr (Way::kPrepares) return (Way::row_bytes(k) + 63) / 64 * 64;
    return 0;
  }
  static K_FN std::size_t bytes(uint64_t rows, uint64_t k) { return rows * stride(k); }
  static K_FN uint64_t pieces(uint64_t k) {
    if constexpr (Way::kPrepares) return (k + Way::kPiece - 1) / Way::kPiece;
    return 0;
  }

  /// Every worker does a part of all rows: complete after the next barrier.
  void make(const float* x, uint64_t rows, uint64_t k, Team& team) const {
    if constexpr (Way::kPrepares) make(x, k, team.part(rows * pieces(k), 16));
  }
  /// Pieces `mine` of all rows, one row after the other.
  void make(const float* x, uint64_t k, Range mine) const {
    if constexpr (Way::kPrepares) {
      for (uint64_t at = mine.begin; at < mine.end;) {
        const uint64_t of_row = pieces(k), row = at / of_row;
        const uint64_t end = (row + 1) * of_row < mine.end ? (row + 1) * of_row : mine.end;
        if constexpr (kSideBySide)
          for (uint64_t start = (at - row * of_row) * Way::kPiece; at < end; ++at, start += Way::kPiece)
            Way::prepare(x + row * k + start, k - start, 0, 1, piece(row, start));
        else
          Way::prepare(x + row * k, k, at - row * of_row, end - row * of_row, memory + row * stride(k));
        at = end;
      }
    }
  }

  /// Row i of a product: what was prepared, or x as it is.
  K_FN auto row(const RowMap& rows, uint64_t i, uint64_t k) const {
    if constexpr (Way::kPrepares)
      return static_cast<const uint8_t*>(memory) + rows.x_row(i) * stride(k);
    else
      return rows.x(i);
  }

  /// Row i of a product from value `start` on, as the way multiplies it; side by side `start` begins a piece.
  K_FN auto part(const RowMap& rows, uint64_t i, uint64_t k, uint64_t start) const {
    if constexpr (kSideBySide)
      return Way::part(piece(rows.x_row(i), start), 0);
    else
      return Way::part(row(rows, i, k), start);
  }

 private:
  K_FN uint8_t* piece(uint64_t row, uint64_t start) const {
    return memory + (start / Way::kPiece * all_rows + row) * Way::kPieceBytes;
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
