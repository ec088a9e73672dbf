// The largest of a row, in one kernel or, by parts of the row, in two.
#pragma once

#include "args/sampling.h"
#include "gpu/kernels/math.h"

namespace mlx_native::gpu {

struct Best {
  float value;
  uint32_t index;
};

/// The largest in a group, of equals the lowest index, for all its threads. Scratch: two words per simdgroup.
template <class Thread>
K_FN Best group_best(Thread t, Best mine, K_SHARED float* scratch) {
  K_SHARED uint32_t* const indices = reinterpret_cast<K_SHARED uint32_t*>(scratch + t.simdgroups());
  for (int level = 0; level < 2; ++level) {
    const float value = t.simd_max(mine.value);
    mine = {value, t.simd_min(mine.value == value ? mine.index : 0xffffffffu)};
    if (level == 1) break;
    if (t.lane() == 0) {
      scratch[t.simdgroup()] = mine.value;
      indices[t.simdgroup()] = mine.index;
    }
    t.barrier();
    const uint32_t from = t.lane() < t.simdgroups() ? t.lane() : 0;
    mine = {scratch[from], indices[from]};
    t.barrier();
  }
  return mine;
}

/// Parts of a row go to groups of their own; a second kernel takes the best of their bests. In scratch: values, then
/// indices, [rows, parts]; the value of a part with a NaN is one.
struct ArgmaxStep {
  ArgmaxArgs argmax;
  uint32_t parts, part_cols;
};

/// kLast: a group a row, of the row itself or, where it has parts, of their bests. Else a group a part.
template <bool kLast, class Thread>
K_FN void argmax(Thread t, K_CONST const ArgmaxStep& s, K_SHARED float* scratch) {
  K_CONST const ArgmaxArgs& a = s.argmax;
  K_GLOBAL float* const values = reinterpret_cast<K_GLOBAL float*>(a.scratch);
  const uint64_t all_parts = uint64_t(a.rows) * s.parts;
  // One part needs no scratch: null it stays.
  K_GLOBAL uint32_t* const indices = reinterpret_cast<K_GLOBAL uint32_t*>(values + (s.parts > 1 ? all_parts : 0));
  const bool merges = kLast && s.parts > 1;
  for (uint64_t unit = t.group(); unit < (kLast ? a.rows : all_parts); unit += t.groups()) {
    const uint64_t row = kLast ? unit : unit / s.parts, first = kLast ? 0 : unit % s.parts * s.part_cols;
    const uint64_t left = a.cols - first, count = merges ? s.parts : !kLast && left > s.part_cols ? s.part_cols : left;
    const K_GLOBAL float* const x = merges ? values + row * s.parts : a.input + row * a.cols + first;
    Best best = {-infinity(), 0xffffffffu};
    float bad = 0.0f;
    for (uint64_t i = t.thread_in_group(); i < count; i += t.threads_in_group()) {
      const float value = x[i];
      if (value != value) bad = 1.0f;
      if (value > best.value || best.index == 0xffffffffu)
        best = {value, merges ? indices[row * s.parts + i] : uint32_t(first + i)};
    }
    if (best.value != best.value) best = {-infinity(), 0xffffffffu};
    best = group_best(t, best, scratch);
    const bool is_bad = group_best(t, {bad, 0}, scratch).value != 0.0f;
    if (t.thread_in_group() != 0) continue;
    if (kLast) {
      a.index[row] = is_bad ? 0xffffffffu : best.index;
      if (is_bad) store_word(a.fault, uint32_t(row) + 1);
    } else {
      values[unit] = is_bad ? bits_to_float(0x7fc00000u) : best.value;
      indices[unit] = best.index;
    }
  }
}

}  // namespace mlx_native::gpu
