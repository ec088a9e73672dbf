// A KV cache on a device, for the tests of the ops that write and read it.
#pragma once

#include <numeric>

#include "conformance/conformance.h"
#include "reference/attention.h"

namespace mlx_native::conformance {

inline std::vector<std::uint32_t> positions_from(std::uint32_t first, std::uint32_t n) {
  std::vector<std::uint32_t> positions(n);
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

/// F32 or F16 contents of a cache as bytes, and the values that they hold.
inline std::vector<std::uint8_t> cache_bytes(std::span<float> values, bool f16) {
  std::vector<std::uint8_t> bytes(values.size() * (f16 ? 2 : 4));
  for (std::size_t i = 0; i < values.size(); ++i)
    if (f16) {
      const std::uint16_t half = reference::to_half(values[i]);
      values[i] = half_to_float(half);
      std::memcpy(&bytes[2 * i], &half, 2);
    } else {
      std::memcpy(&bytes[4 * i], &values[i], 4);
    }
  return bytes;
}

class Cache {
 public:
  Cache(const MlxDevice& device, std::vector<float> values, bool f16)
      : bytes_(device, cache_bytes(values, f16), 4), f16_(f16) {
    view_ = bytes_.view().reinterpret(f16 ? DType::F16 : DType::F32, {values.size()}).value();
  }
  MlxBuffer& view() { return *view_; }
  std::vector<float> read() const {
    const auto bytes = bytes_.read();
    std::vector<float> values(bytes.size() / (f16_ ? 2 : 4));
    for (std::size_t i = 0; i < values.size(); ++i)
      if (f16_) {
        std::uint16_t half;
        std::memcpy(&half, &bytes[2 * i], 2);
        values[i] = half_to_float(half);
      } else {
        std::memcpy(&values[i], &bytes[4 * i], 4);
      }
    return values;
  }
  void expect_guards_intact() const { bytes_.expect_guards_intact(); }

 private:
  Guarded<std::uint8_t> bytes_;
  bool f16_;
  std::optional<MlxBuffer> view_;
};

}  // namespace mlx_native::conformance
