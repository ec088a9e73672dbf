#include "ops/call.h"

#include <algorithm>

#include "core/checked.h"
#include "formats/list.h"

namespace mlx_native::ops {

using namespace detail;

Call::Call(std::string_view op, CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device)
    : op_(op), encoder_(encoder), registry_(registry), device_(device) {
  require(!EncoderAccess::is_empty(encoder), "the encoder is empty: it was moved from");
  require(!ok() || EncoderAccess::commands(encoder).device() == DeviceAccess::device(device),
          "the encoder belongs to another device than {}", device.name());
}

void Call::fail(ErrorKind kind, std::string message) {
  if (!failure_) failure_ = MlxError{kind, fmt::format("{}: {}", op_, message)};
}

void Call::extents(std::initializer_list<std::pair<std::string_view, std::uint64_t>> named) {
  for (const auto& [name, value] : named) require(value != 0, "{} is 0, it must be at least 1", name);
}

std::byte* Call::typed(std::string_view name, const MlxBuffer& buffer, Extents extents, DType dtype, bool write,
                       std::initializer_list<std::string_view> in_place) {
  require(BufferAccess::storage(buffer) != nullptr, "{} is empty: it was moved from", name);
  require(buffer.dtype() == dtype, "{} is {}, it must be {}", name, dtype_name(buffer.dtype()), dtype_name(dtype));
  const std::size_t element = dtype_size(dtype);
  require(buffer.byte_offset() % element == 0, "{} starts at byte {}, which is not a multiple of {}", name,
          buffer.byte_offset(), element);
  const auto count = checked_product(extents);
  require(count && *count <= buffer.byte_len() / element, "{} holds {} elements of {}, {} are needed ({})", name,
          buffer.byte_len() / element, dtype_name(dtype), count ? fmt::to_string(*count) : "more than 2^64",
          fmt::join(extents, " x "));
  if (!ok()) return nullptr;
  std::byte* const address = operand(name, buffer, *count * element, write, in_place);
  require(reinterpret_cast<std::uintptr_t>(address) % element == 0, "{} is not aligned to {} bytes", name, element);
  return address;
}

std::byte* Call::operand(std::string_view name, const MlxBuffer& buffer, std::uint64_t bytes, bool write,
                         std::initializer_list<std::string_view> in_place) {
  const auto& storage = BufferAccess::storage(buffer);
  require(storage->device() == DeviceAccess::device(device_).get(), "{} belongs to another device than {}", name,
          device_.name());
  require(!write || buffer.is_writable(), "{} is read-only, it is written here", name);
  const Use use{storage, buffer.byte_offset(), buffer.byte_offset() + bytes, write};
  for (std::size_t i = 0; write && i < uses_.size(); ++i) {
    const Use& other = uses_[i];
    const bool apart = other.storage != storage || other.end <= use.begin || use.end <= other.begin;
    const bool same = other.begin == use.begin && other.end == use.end;
    const bool may = std::ranges::find(in_place, names_[i]) != in_place.end();
    require(apart || (may && same), "{} overlaps {}: bytes {} to {} and {} to {}; they must {}", name, names_[i],
            use.begin, use.end, other.begin, other.end, may ? "be apart or the same" : "be apart");
  }
  if (!ok()) return nullptr;
  names_.push_back(name);
  uses_.push_back(use);
  return BufferAccess::address(buffer);
}

std::span<const std::uint32_t> Call::host_words(const MlxBuffer& buffer, std::uint64_t n) {
  const auto& storage = BufferAccess::storage(buffer);
  if (!storage->written_by_host()) return {};
  const auto host = storage->host(false);
  if (!host) {
    fail(host.error().kind, host.error().message);
    return {};
  }
  return {reinterpret_cast<const std::uint32_t*>(*host + buffer.byte_offset()), n};
}

const std::uint32_t* Call::read_ids(std::string_view name, const MlxBuffer& ids, Extents extents, std::uint32_t limit,
                                    std::string_view what) {
  const auto* const address = read<std::uint32_t>(name, ids, extents);
  if (!ok()) return nullptr;
  const auto known = host_words(ids, *checked_product(extents));
  const auto bad = std::ranges::find_if(known, [&](std::uint32_t id) { return id >= limit; });
  if (bad != known.end())
    require(false, "{}[{}] is {}, it must be below {} {}", name, bad - known.begin(), *bad, what, limit);
  return address;
}

const std::uint32_t* Call::read_positions(const MlxBuffer& positions, std::uint32_t n_tokens) {
  const auto* const address = read<std::uint32_t>("positions", positions, {n_tokens});
  if (!ok()) return nullptr;
  const auto known = host_words(positions, n_tokens);
  for (std::size_t t = 1; ok() && t < known.size(); ++t)
    require(known[t] == std::uint64_t{known[t - 1]} + 1,
            "positions[{}] is {} after {}, each must be one more than the "
            "one before",
            t, known[t], known[t - 1]);
  return address;
}

std::uint64_t Call::row_bytes(GgmlType type, std::string_view name, std::uint64_t values) {
  if (!is_weight_format(type)) {
    fail(ErrorKind::UnsupportedDtype, fmt::format("{} (type {}) is not a weight format of this library",
                                                  ggml_type_name(type), static_cast<std::uint32_t>(type)));
    return 0;
  }
  const GgmlLayout layout = *ggml_layout(type);
  require(values % layout.block_values == 0, "{} is {}, it must be a multiple of {}, the block of {}", name, values,
          layout.block_values, layout.name);
  const auto bytes = checked_mul(values / layout.block_values, layout.block_bytes);
  require(bytes.has_value(), "{} is {}: its {} bytes exceed 2^64", name, values, layout.name);
  return bytes.value_or(0);
}

std::size_t Call::block_alignment(GgmlType type) const {
  // GPUs read a block by aligned words; the host reads its fields.
  const bool words = device_.backend() != Backend::Cpu;
  std::size_t alignment = 1;
  with_format(type, [&]<class Format>() { alignment = words ? Format::kAlign : alignof(typename Format::Block); });
  return alignment;
}

const std::uint8_t* Call::read_blocks(std::string_view name, const MlxBuffer& buffer, GgmlType type,
                                      std::optional<std::uint64_t> bytes) {
  const auto plain = [&] {
    switch (type) {
      case GgmlType::F32: return DType::F32;
      case GgmlType::F16: return DType::F16;
      case GgmlType::BF16: return DType::BF16;
      default: return DType::U8;
    }
  }();
  require(BufferAccess::storage(buffer) != nullptr, "{} is empty: it was moved from", name);
  require(buffer.dtype() == DType::U8 || buffer.dtype() == plain, "{} is {}, {} needs u8{}{}", name,
          dtype_name(buffer.dtype()), ggml_type_name(type), plain == DType::U8 ? "" : " or ",
          plain == DType::U8 ? "" : dtype_name(plain));
  require(bytes && *bytes <= buffer.byte_len(), "{} holds {} bytes, {} of {} are needed", name, buffer.byte_len(),
          bytes ? fmt::to_string(*bytes) : "more than 2^64", ggml_type_name(type));
  if (!ok()) return nullptr;
  const auto* const address = operand(name, buffer, *bytes, false, {});
  const std::size_t alignment = block_alignment(type);
  require(reinterpret_cast<std::uintptr_t>(address) % alignment == 0,
          "{} starts at byte {}, {} on {} needs a multiple of {}", name, buffer.byte_offset(), ggml_type_name(type),
          backend_name(device_.backend()), alignment);
  return reinterpret_cast<const std::uint8_t*>(address);
}

Result<std::shared_ptr<const Kernel>> Call::select(std::initializer_list<Op> choices, std::optional<GgmlType> format,
                                                   Precision precision, const void* args) {
  if (failure_) return failure();
  for (const Op op : choices)
    if (RegistryAccess::forces(registry_, device_, op, format))
      return RegistryAccess::select(registry_, device_, op, format, precision, args);
  Result<std::shared_ptr<const Kernel>> chosen = error(ErrorKind::KernelNotFound, "no op");
  for (const Op op : choices) {
    auto found = RegistryAccess::select(registry_, device_, op, format, precision, args);
    if (found || found.error().kind != ErrorKind::KernelNotFound) return found;
    if (op == *choices.begin()) chosen = std::move(found);
  }
  return chosen;
}

}  // namespace mlx_native::ops
