#include "args/checksum.h"

#include "cpu/generic/rows.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

uint32_t sum_of(const uint32_t* words, uint64_t n) {
  constexpr int kVectors = 4;  // more sums than one, so that additions do not wait for each other
  UIntVec sums[kVectors] = {};
  uint64_t i = 0;
  for (; i + kVectors * kLanes <= n; i += kVectors * kLanes)
    for (int j = 0; j < kVectors; ++j) {
      UIntVec v;
      __builtin_memcpy(&v, words + i + j * kLanes, sizeof v);
      sums[j] += v;
    }
  const UIntVec all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  uint32_t sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += all[lane];
  for (; i < n; ++i) sum += words[i];
  return sum;
}

void checksum(const ChecksumArgs& a, Team& team) {
  const Range parts = team.part((a.n_words + a.part - 1) / a.part);
  for (uint64_t part = parts.begin; part < parts.end; ++part) {
    const uint64_t first = part * a.part, left = a.n_words - first;
    a.sums[part] = sum_of(a.words + first, left < a.part ? left : a.part);
  }
}

}  // namespace

void add_checksum_rows(const RowSink& sink) { add<ChecksumArgs, checksum>(sink, Op::Checksum); }

}  // namespace mlx_native::cpu::MLXN_ISA
