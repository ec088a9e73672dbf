// Builders of files byte by byte, valid or not.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mlx_native/error.h"

namespace mlx_native::hostile {

/// Little-endian bytes.
class Bytes {
 public:
  Bytes() = default;
  template <class T>
  Bytes& number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    const auto at = data.size();
    data.resize(at + sizeof value);
    std::memcpy(data.data() + at, &value, sizeof value);
    return *this;
  }
  Bytes& u8(std::uint8_t value) { return number(value); }
  Bytes& u16(std::uint16_t value) { return number(value); }
  Bytes& u32(std::uint32_t value) { return number(value); }
  Bytes& u64(std::uint64_t value) { return number(value); }
  Bytes& raw(std::string_view text) {
    data.insert(data.end(), text.begin(), text.end());
    return *this;
  }
  Bytes& add(const Bytes& more) {
    data.insert(data.end(), more.data.begin(), more.data.end());
    return *this;
  }
  /// A GGUF string.
  Bytes& text(std::string_view text) { return u64(text.size()).raw(text); }
  Bytes& fill(std::size_t count, std::uint8_t value = 0) {
    data.insert(data.end(), count, value);
    return *this;
  }

  std::vector<std::uint8_t> data;
};

/// A file and what opening it must give.
struct Case {
  std::string name;
  std::vector<std::uint8_t> bytes;
  std::optional<ErrorKind> kind;  ///< nullopt: it opens
  std::string text;               ///< part of the message
};

/// Value types of GGUF.
enum : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

/// A GGUF file; what is not set is right.
class Gguf {
 public:
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> tensor_count, metadata_count;
  std::uint64_t alignment = 32;  ///< of the data section; general.alignment is an entry of its own
  std::uint64_t data_bytes = 0;
  std::vector<Bytes> entries, tensors;

  /// An entry of any bytes.
  Gguf& entry(const Bytes& bytes) {
    entries.push_back(bytes);
    return *this;
  }
  /// Key, type, then `value`.
  Gguf& entry(std::string_view key, std::uint32_t type, const Bytes& value) {
    return entry(Bytes().text(key).u32(type).add(value));
  }
  Gguf& u32(std::string_view key, std::uint32_t value) { return entry(key, kU32, Bytes().u32(value)); }
  Gguf& array(std::string_view key, std::uint32_t type, std::uint64_t count, const Bytes& elements) {
    return entry(key, kArray, Bytes().u32(type).u64(count).add(elements));
  }

  Gguf& tensor(const Bytes& bytes) {
    tensors.push_back(bytes);
    return *this;
  }
  /// `extents` innermost first.
  Gguf& tensor(std::string_view name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
               std::uint64_t offset) {
    Bytes bytes;
    bytes.text(name).u32(static_cast<std::uint32_t>(extents.size()));
    for (const auto extent : extents) bytes.u64(extent);
    return tensor(bytes.u32(type).u64(offset));
  }
  Gguf& data(std::uint64_t bytes) {
    data_bytes = bytes;
    return *this;
  }

  std::vector<std::uint8_t> build() const {
    Bytes bytes;
    bytes.raw(magic)
        .u32(version)
        .u64(tensor_count.value_or(tensors.size()))
        .u64(metadata_count.value_or(entries.size()));
    for (const auto& e : entries) bytes.add(e);
    for (const auto& t : tensors) bytes.add(t);
    if (!tensors.empty()) bytes.fill((alignment - bytes.data.size() % alignment) % alignment);
    Bytes period;
    for (int i = 0; i < 256; ++i) period.u8(static_cast<std::uint8_t>(i * 37 + 11));
    bytes.data.reserve(bytes.data.size() + data_bytes);
    for (std::uint64_t left = data_bytes; left > 0; left -= period.data.size()) {
      if (left < period.data.size()) period.data.resize(left);
      bytes.add(period);
    }
    return bytes.data;
  }
};

/// A small file with everything in it: values of all types, arrays, three tensors.
inline Gguf small_gguf() {
  Gguf file;
  file.entry("general.architecture", kString, Bytes().text("qwen3"));
  file.entry("u8", kU8, Bytes().u8(1)).entry("i8", kI8, Bytes().u8(0xff));
  file.entry("u16", kU16, Bytes().u16(2)).entry("i16", kI16, Bytes().u16(0xfffe));
  file.u32("u32", 3).entry("i32", kI32, Bytes().number(-3)).entry("f32", kF32, Bytes().number(1.5f));
  file.entry("bool", kBool, Bytes().u8(1)).entry("u64", kU64, Bytes().u64(1ull << 40));
  file.entry("i64", kI64, Bytes().number(std::int64_t{-5})).entry("f64", kF64, Bytes().number(0.25));
  file.array("strings", kString, 2, Bytes().text("a").text("bc")).array("bools", kBool, 3, Bytes().u8(0).u8(1).u8(1));
  file.array("i32s", kI32, 2, Bytes().u32(7).u32(8)).array("none", kF32, 0, {});
  file.u32("general.alignment", 32);
  file.tensor("f32", {4, 2}, 0, 0).tensor("q8_0", {32, 2}, 8, 32).tensor("q4_K", {256}, 12, 128);
  return file.data(128 + 144);
}

}  // namespace mlx_native::hostile
