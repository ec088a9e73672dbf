// What all ops share: one call of an op, its checks, its operands, and how it becomes a command.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "runtime/access.h"

namespace mlx_native::ops {

using detail::Op;

template <class T>
inline constexpr DType kDTypeOf = DType::U8;
template <>
inline constexpr DType kDTypeOf<float> = DType::F32;
template <>
inline constexpr DType kDTypeOf<std::uint32_t> = DType::U32;

using Extents = std::initializer_list<std::uint64_t>;

/// A call being checked. The first check that fails becomes the result of encode(); after it the others do nothing and
/// the addresses are null. Inputs are named before outputs, for outputs are held against everything named so far.
class Call {
 public:
  Call(std::string_view op, CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device);

  bool ok() const { return !failure_; }
  Backend backend() const { return device_.backend(); }
  tl::unexpected<MlxError> failure() const { return tl::unexpected(*failure_); }

  template <class... A>
  void require(bool holds, fmt::format_string<A...> format, A&&... args) {
    if (!holds) fail(ErrorKind::InvalidArgument, fmt::format(format, std::forward<A>(args)...));
  }
  /// Every value is at least 1.
  void extents(std::initializer_list<std::pair<std::string_view, std::uint64_t>> named);
  void finite(std::string_view name, float value) {
    require(std::isfinite(value), "{} is {}, it must be finite", name, value);
  }
  void positive(std::string_view name, float value) {
    require(std::isfinite(value) && value > 0, "{} is {}, it must be finite and above 0", name, value);
  }
  void not_negative(std::string_view name, float value) {
    require(std::isfinite(value) && value >= 0, "{} is {}, it must be finite and at least 0", name, value);
  }

  /// The address of a view that holds at least the product of `extents` elements.
  template <class T>
  const T* read(std::string_view name, const MlxBuffer& buffer, Extents extents, DType dtype = kDTypeOf<T>) {
    return reinterpret_cast<const T*>(typed(name, buffer, extents, dtype, false, {}));
  }
  /// The same, to write. It shares no byte with the operands named before, but may be exactly one of `in_place`.
  template <class T>
  T* write(std::string_view name, const MlxBuffer& buffer, Extents extents,
           std::initializer_list<std::string_view> in_place = {}, DType dtype = kDTypeOf<T>) {
    return reinterpret_cast<T*>(typed(name, buffer, extents, dtype, true, in_place));
  }
  /// U32 values that are all < limit, as far as the host can know: where it wrote them last. `what` names the limit.
  const std::uint32_t* read_ids(std::string_view name, const MlxBuffer& ids, Extents extents, std::uint32_t limit,
                                std::string_view what);
  /// U32 positions, each one more than the one before, as far as the host can know.
  const std::uint32_t* read_positions(const MlxBuffer& positions, std::uint32_t n_tokens);

  /// Bytes of a row of `values` values, of which `name` in messages speaks: a whole number of blocks of a weight
  /// format.
  std::uint64_t row_bytes(GgmlType type, std::string_view name, std::uint64_t values);
  /// Blocks of `type`, `bytes` bytes of them, as U8 or as the plain dtype of the same layout. Null `bytes`: beyond
  /// 2^64.
  const std::uint8_t* read_blocks(std::string_view name, const MlxBuffer& buffer, GgmlType type,
                                  std::optional<std::uint64_t> bytes);
  /// What the addresses of blocks must be a multiple of on this device.
  std::size_t block_alignment(GgmlType type) const;

  /// Records the first of `choices` that the device has a kernel for; a forced kernel's op goes before the others.
  /// `describe` says what a fault of the kernel means: see Commands::fault_word.
  template <class Args>
  Result<void> encode(std::initializer_list<Op> choices, std::optional<GgmlType> format, Precision precision, Args args,
                      std::function<std::string(std::uint32_t)> describe = {}) {
    MLXN_ASSIGN(auto kernel, select(choices, format, precision, &args));
    detail::Commands& commands = detail::EncoderAccess::commands(encoder_);
    if constexpr (requires { args.scratch; }) {
      args.scratch = nullptr;
      if (const std::size_t bytes = kernel->scratch_bytes ? kernel->scratch_bytes(&args) : 0) {
        MLXN_ASSIGN(std::byte* const scratch, commands.scratch(bytes, uses_));
        args.scratch = reinterpret_cast<std::uint8_t*>(scratch);
      }
    }
    if constexpr (requires { args.fault; }) {
      MLXN_ASSIGN(args.fault, commands.fault_word(uses_, std::move(describe)));
    }
    return commands.add(std::move(kernel), std::as_bytes(std::span(&args, 1)), std::move(uses_));
  }
  template <class Args>
  Result<void> encode(Op op, const Args& args, std::function<std::string(std::uint32_t)> describe = {}) {
    return encode({op}, std::nullopt, Precision::Full, args, std::move(describe));
  }

 private:
  void fail(ErrorKind kind, std::string message);
  std::byte* typed(std::string_view name, const MlxBuffer& buffer, Extents extents, DType dtype, bool write,
                   std::initializer_list<std::string_view> in_place);
  std::byte* operand(std::string_view name, const MlxBuffer& buffer, std::uint64_t bytes, bool write,
                     std::initializer_list<std::string_view> in_place);
  /// The view's first `n` words where the host wrote them last, else none.
  std::span<const std::uint32_t> host_words(const MlxBuffer& buffer, std::uint64_t n);
  Result<std::shared_ptr<const detail::Kernel>> select(std::initializer_list<Op> choices,
                                                       std::optional<GgmlType> format, Precision precision,
                                                       const void* args);

  std::string_view op_;
  CommandEncoder& encoder_;
  const KernelRegistry& registry_;
  const MlxDevice& device_;
  std::optional<MlxError> failure_;
  std::vector<std::string_view> names_;  // of uses_
  std::vector<detail::Use> uses_;
};

}  // namespace mlx_native::ops
