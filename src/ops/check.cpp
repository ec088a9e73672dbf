#include "ops/check.h"

#include "core/checked.h"
#include "runtime/access.h"

namespace mlx_native::ops {

using detail::BufferAccess;

namespace {

bool same_storage(const MlxBuffer& a, const MlxBuffer& b) {
  return BufferAccess::storage(a) == BufferAccess::storage(b);
}

bool share_bytes(const MlxBuffer& a, const MlxBuffer& b) {
  return same_storage(a, b) && a.byte_offset() < b.byte_offset() + b.byte_len() &&
         b.byte_offset() < a.byte_offset() + a.byte_len();
}

bool same_view(const MlxBuffer& a, const MlxBuffer& b) {
  return same_storage(a, b) && a.byte_offset() == b.byte_offset();
}

}  // namespace

Result<void> check_extent(std::string_view op, std::string_view name, std::uint64_t value) {
  if (value == 0) return invalid("{}: {} is 0, it must be at least 1", op, name);
  return {};
}

Result<void> check_buffer(std::string_view op, const CommandEncoder& encoder, const MlxDevice& device, Named buffer,
                          DType dtype, std::initializer_list<std::uint64_t> extents) {
  const auto& [name, b] = buffer;
  const detail::Device* const owner = detail::DeviceAccess::device(device).get();
  if (detail::EncoderAccess::commands(encoder).device().get() != owner)
    return invalid("{}: the encoder belongs to another device than {}", op, device.name());
  if (BufferAccess::storage(b)->device() != owner)
    return invalid("{}: {} belongs to another device than {}", op, name, device.name());
  if (b.dtype() != dtype)
    return invalid("{}: {} is {}, it must be {}", op, name, dtype_name(b.dtype()), dtype_name(dtype));
  const std::size_t element = dtype_size(dtype);
  if (b.byte_offset() % element != 0)
    return invalid("{}: {} starts at byte {}, which is not a multiple of {}", op, name, b.byte_offset(), element);
  const auto count = checked_product(extents);
  if (!count || b.byte_len() / element < *count)
    return invalid("{}: {} has {} elements of {}, the shape needs {}", op, name, b.byte_len() / element,
                   dtype_name(dtype), count ? fmt::to_string(*count) : "more than 2^64");
  return {};
}

Result<void> check_output(std::string_view op, const CommandEncoder& encoder, const MlxDevice& device, Named buffer,
                          DType dtype, std::initializer_list<std::uint64_t> extents) {
  MLXN_TRY(check_buffer(op, encoder, device, buffer, dtype, extents));
  if (!buffer.buffer.is_writable()) return invalid("{}: {} is read-only", op, buffer.name);
  return {};
}

Result<void> check_apart(std::string_view op, Named output, Named input) {
  if (share_bytes(output.buffer, input.buffer)) return invalid("{}: {} overlaps {}", op, output.name, input.name);
  return {};
}

Result<void> check_apart_or_same(std::string_view op, Named output, Named input) {
  if (share_bytes(output.buffer, input.buffer) && !same_view(output.buffer, input.buffer))
    return invalid("{}: {} overlaps {} without being the same view", op, output.name, input.name);
  return {};
}

}  // namespace mlx_native::ops
