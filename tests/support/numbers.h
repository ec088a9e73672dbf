#pragma once

#include <cmath>
#include <cstddef>
#include <iterator>

namespace mlx_native::test {

/// |got - want| / |want| in the L2 norm, of two ranges of numbers. |got| where |want| is 0; infinite where the sizes
/// differ; NaN where a value is.
template <class Got, class Want>
double relative_error(const Got& got, const Want& want) {
  if (std::size(got) != std::size(want)) return INFINITY;
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < std::size(got); ++i) {
    const double w = static_cast<double>(want[i]), d = static_cast<double>(got[i]) - w;
    difference += d * d;
    norm += w * w;
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

}  // namespace mlx_native::test
