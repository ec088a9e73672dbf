// A row of a backend's kernel table.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mlx_native/device.h"
#include "mlx_native/ggml_type.h"
#include "mlx_native/kernel_registry.h"
#include "mlx_native/ops/precision.h"
#include "runtime/op.h"

namespace mlx_native::detail {

struct Kernel {
  std::string name;
  Backend backend;
  Op op;
  std::optional<GgmlType> format;        ///< nullopt: the op has none
  Precision accuracy = Precision::Full;  ///< the bound that it keeps
  KernelEntry entry = nullptr;
  bool (*supports)(const void* args) = nullptr;              ///< null: every valid problem
  std::size_t (*scratch_bytes)(const void* args) = nullptr;  ///< null: none
  /// Of a fused product: the kernel of the product alone whose bits it leaves.
  KernelEntry alone = nullptr;
  /// CPU: whether one thread does this problem sooner than several can part and meet. Null: never.
  bool (*brief)(const void* args) = nullptr;
  std::function<void(const KernelContext&, std::span<const std::byte>)> user = {};  ///< instead of entry, for Op::User
};

/// All built-in kernels that this machine can run, in order of preference within each op and format. Made once.
std::span<const std::shared_ptr<const Kernel>> builtin_kernels();

}  // namespace mlx_native::detail
