// One op against its reference, on every device and by every kernel of its tables.
//
// Inputs lie in views inside larger allocations whose other bytes are 0xff: NaN to whoever reads too far. Outputs lie
// the same way, and every test of an op ends in a look at those bytes: nothing was written outside.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "formats/list.h"
#include "runtime/access.h"
#include "support/backends.h"
#include "support/lane.h"
#include "support/numbers.h"
#include "support/random.h"

namespace mlx_native::conformance {

using detail::Op;
using test::backend_label;
using test::Data;
using test::kAllData;
using test::Random;
using test::relative_error;

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::F32;
  if constexpr (std::is_same_v<T, std::uint32_t>) return DType::U32;
  if constexpr (std::is_same_v<T, std::uint16_t>) return DType::F16;
  return DType::U8;
}

/// A view of n elements of T that begins `offset` bytes after a 64-byte boundary, with guards of 0xff on both sides.
template <class T>
class Guarded {
 public:
  Guarded(const MlxDevice& device, std::size_t n, std::size_t offset, DType dtype = dtype_of<T>())
      : begin_(kGuard + offset),
        bytes_(n * sizeof(T)),
        whole_(device.alloc_buffer(begin_ + bytes_ + kGuard, DType::U8, {begin_ + bytes_ + kGuard}).value()),
        view_(whole_.slice_view(begin_, bytes_).value().reinterpret(dtype, {n}).value()) {
    std::ranges::fill(whole_.as_mut_slice<std::uint8_t>().value(), std::uint8_t{0xff});
  }
  Guarded(const MlxDevice& device, std::span<const T> contents, std::size_t offset, DType dtype = dtype_of<T>())
      : Guarded(device, contents.size(), offset, dtype) {
    std::memcpy(whole_.as_mut_slice<std::uint8_t>().value().data() + begin_, contents.data(), bytes_);
  }

  MlxBuffer& view() { return view_; }
  std::vector<T> read() const {
    std::vector<T> values(bytes_ / sizeof(T));
    std::memcpy(values.data(), whole_.as_slice<std::uint8_t>().value().data() + begin_, bytes_);
    return values;
  }
  void poison() { std::ranges::fill(whole_.as_mut_slice<std::uint8_t>().value(), std::uint8_t{0xff}); }
  void expect_guards_intact() const {
    const auto all = whole_.as_slice<std::uint8_t>().value();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i == begin_) i += bytes_;
      ASSERT_EQ(all[i], 0xff) << "written " << (i < begin_ ? "before" : "behind") << " the output, at byte "
                              << static_cast<std::ptrdiff_t>(i) - static_cast<std::ptrdiff_t>(begin_) << " of "
                              << bytes_;
    }
  }

 private:
  static constexpr std::size_t kGuard = 1024;
  std::size_t begin_, bytes_;
  MlxBuffer whole_, view_;
};

/// The largest E that a precision allows. With outliers in weights and activations what 8 bits lose of small
/// activations is multiplied with large weights: three times as much.
inline double bound(Precision precision, Data data = Data::Normal) {
  return error_bound(precision) * (precision == Precision::Int8 && data == Data::Outliers ? 3 : 1);
}

/// Every value within `relative` of the reference's, or `absolute`.
inline void expect_values(std::span<const float> got, std::span<const double> want, double relative, double absolute) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i]) && std::isnan(got[i])) continue;
    ASSERT_LE(std::fabs(double{got[i]} - want[i]), std::max(absolute, relative * std::fabs(want[i])))
        << "at " << i << " of " << got.size() << ": got " << got[i] << ", want " << want[i];
  }
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

inline void expect_ok(const Result<void>& result) { ASSERT_TRUE(result.has_value()) << result.error().message; }

/// What blocks of a format must be aligned to on a backend, and no more.
inline std::size_t block_alignment(Backend backend, GgmlType type) {
  std::size_t alignment = 1;
  with_format(type, [&]<class Format>() {
    alignment = backend == Backend::Cpu ? alignof(typename Format::Block) : Format::kAlign;
  });
  return alignment;
}

inline std::vector<std::uint8_t> encoded(GgmlType type, std::span<const float> values) {
  return quantize(type, values).value();
}

/// U32 values that a command wrote, so that the host cannot check them: their bits go through dequantize_ggml as f32.
inline Guarded<std::uint32_t> written_by_device(const MlxDevice& device, std::span<const std::uint32_t> values) {
  const std::size_t n = values.size();
  Guarded<std::uint32_t> source(device, values, 0);
  Guarded<std::uint32_t> target(device, n, 4);
  const MlxBuffer from = source.view().reinterpret(DType::F32, {n}).value();
  MlxBuffer to = target.view().reinterpret(DType::F32, {n}).value();
  CommandEncoder encoder = device.command_encoder().value();
  expect_ok(dequantize_ggml(encoder, {}, device, from, to, {.n_values = n, .ggml_type = GgmlType::F32}));
  expect_ok(encoder.commit_and_wait());
  return target;
}

/// Devices of one backend with 1 to 4 threads (1 and 3 where tests are slow); a GPU has one.
inline std::vector<MlxDevice> devices_of(Backend backend) {
  std::vector<MlxDevice> devices;
  for (std::uint32_t threads = 1; threads <= (backend == Backend::Cpu ? 4 : 1); threads += test::kSlow ? 2 : 1)
    devices.push_back(MlxDevice::create(backend, {.threads = threads}).value());
  return devices;
}

/// Where to choose fewer shapes: the emulator runs a kernel some thousand times slower than a device would.
inline bool small(Backend backend) { return backend == Backend::Emulator || test::kSlow; }

/// A suite over all backends.
class OnBackend : public testing::TestWithParam<Backend> {
 protected:
  bool small() const { return conformance::small(GetParam()); }

  /// Kernels of the backend for an op and format, by name.
  static std::vector<std::string> kernels(Backend backend, Op op, std::optional<GgmlType> format = {}) {
    std::vector<std::string> names;
    for (const auto& kernel : test::kernels_of(backend))
      if (kernel->op == op && kernel->format == format) names.push_back(kernel->name);
    return names;
  }
  /// Calls run(registry, name) with each kernel forced. Every backend has one.
  void for_each_kernel(Op op, std::optional<GgmlType> format,
                       const std::function<void(const KernelRegistry&, const std::string&)>& run) {
    const auto names = kernels(GetParam(), op, format);
    EXPECT_FALSE(names.empty()) << "no kernel for " << op_name(op);
    for (const std::string& name : names) {
      SCOPED_TRACE(name);
      KernelRegistry registry;
      ASSERT_TRUE(registry.force(name).has_value());
      run(registry, name);
    }
  }
};

}  // namespace mlx_native::conformance
