// Malformed GGUF metadata.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "hostile/bytes.h"

namespace mlx_native::hostile {

inline std::vector<Case> gguf_metadata_cases() {
  std::vector<Case> cases;
  const auto add = [&](std::string name, const Gguf& file, const char* text) {
    cases.push_back({std::move(name), file.build(), ErrorKind::GgufParseError, text});
  };
  const auto opens = [&](std::string name, const Gguf& file) {
    cases.push_back({std::move(name), file.build(), std::nullopt, ""});
  };
  const auto lengths = {std::uint64_t{1} << 31, std::uint64_t{1} << 32, std::uint64_t{1} << 63, ~std::uint64_t{0},
                        ~std::uint64_t{0} - 7};
  const Bytes one = Bytes().u32(1);

  // Keys
  add("key_empty", Gguf().entry("", kU32, one), "is not a name");
  add("key_65536_bytes", Gguf().entry(std::string(65536, 'k'), kU32, one), "at most 65535");
  opens("key_65535_bytes", Gguf().entry(std::string(65535, 'k'), kU32, one));
  for (const auto length : lengths)
    add(fmt::format("key_length_{:x}", length), Gguf().entry(Bytes().u64(length).raw("key").u32(kU32).u32(1)),
        "a string of");
  add("key_one_past_the_end", Gguf().entry(Bytes().u64(20).raw("key").fill(16)), "20 bytes are needed, 19 are left");
  const char* bad_names[] = {"\n",           "a\tb",         "\x1b[2J",          "a\x7f", "\xff", "\xc0\x80",
                             "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xc3"};
  for (const char* name : bad_names)
    add(fmt::format("key_bytes_{}", cases.size()), Gguf().entry(name, kU32, one), "is not a name");
  add("key_with_nul", Gguf().entry(std::string_view("a\0b", 3), kU32, one), "is not a name");
  opens("key_utf8", Gguf().entry("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", kU32, one));
  add("key_twice", Gguf().u32("a", 1).u32("b", 1).u32("a", 1), "\"a\" appears twice");
  add("key_twice_with_another_type", Gguf().u32("a", 1).entry("a", kBool, Bytes().u8(1)), "\"a\" appears twice");
  add("key_cut", Gguf().entry(Bytes().u64(6).raw("keykey")), "value of metadata entry 0 of 1");

  // Value types
  for (const std::uint32_t type : {13u, 14u, 255u, 0x7fffffffu, 0xffffffffu}) {
    add(fmt::format("value_type_{}", type), Gguf().entry("k", type, Bytes().fill(16)), "value type");
    add(fmt::format("element_type_{}", type), Gguf().array("k", type, 1, Bytes().fill(16)), "value type");
  }
  for (std::uint32_t type = kU8; type <= kF64; ++type)
    if (type != kArray && type != kU8 && type != kI8 && type != kBool)
      add(fmt::format("value_cut_of_type_{}", type), Gguf().entry("k", type, Bytes().u8(0)), "are needed");
  for (const int value : {2, 3, 127, 128, 255}) {
    add(fmt::format("bool_{}", value), Gguf().entry("k", kBool, Bytes().u8(std::uint8_t(value))), "a boolean of value");
    add(fmt::format("bool_{}_in_array", value), Gguf().array("k", kBool, 2, Bytes().u8(1).u8(std::uint8_t(value))),
        "a boolean of value");
  }

  // Strings
  for (const auto length : lengths)
    add(fmt::format("string_length_{:x}", length), Gguf().entry("k", kString, Bytes().u64(length).fill(100)),
        "a string of");
  add("string_1_GiB_in_a_small_file", Gguf().entry("k", kString, Bytes().u64(1u << 30).fill(100)), "at most 16777216");
  add("string_one_past_the_end", Gguf().entry("k", kString, Bytes().u64(101).fill(100)),
      "101 bytes are needed, 100 are left");
  opens("string_to_the_end", Gguf().entry("k", kString, Bytes().u64(100).fill(100)));
  opens("string_not_utf8", Gguf().entry("k", kString, Bytes().text("\xff\xfe")));

  // Arrays
  for (const auto length : lengths)
    add(fmt::format("array_count_{:x}", length), Gguf().array("k", kU8, length, Bytes().fill(64)),
        "array elements, at most");
  for (std::uint32_t type = kU8; type <= kF64; ++type)
    if (type != kArray)
      add(fmt::format("array_too_long_of_type_{}", type), Gguf().array("k", type, 65, Bytes().fill(64)),
          "array elements do not fit");
  add("array_count_times_8_wraps", Gguf().array("k", kU64, 1ull << 61, Bytes().fill(64)), "array elements, at most");
  add("array_count_times_8_wraps_to_8", Gguf().array("k", kU64, (1ull << 61) + 1, Bytes().fill(64)),
      "array elements, at most");
  add("array_count_allowed_but_no_room", Gguf().array("k", kU8, 1u << 27, Bytes().fill(64)),
      "do not fit into the 64 bytes");
  add("array_of_arrays", Gguf().array("k", kArray, 1, Bytes().u32(kU8).u64(1).u8(1)), "an array of arrays");
  Bytes nested;
  for (int i = 0; i < 100000; ++i) nested.u32(kArray).u64(1);
  add("array_100000_deep", Gguf().array("k", kArray, 1, nested), "an array of arrays");
  Bytes strings;
  for (int i = 0; i < 7; ++i) strings.text("x");
  add("array_of_strings_the_last_too_long", Gguf().array("k", kString, 8, Bytes(strings).u64(2).u8(0)),
      "2 bytes are needed, 1 are left");
  add("array_of_strings_the_last_of_2^64-1", Gguf().array("k", kString, 8, Bytes(strings).u64(~0ull)),
      "a string of 18446744073709551615");
  add("array_without_count", Gguf().entry("k", kArray, Bytes().u32(kU8).u32(0)), "8 bytes are needed, 4 are left");
  opens("array_empty_of_strings", Gguf().array("k", kString, 0, {}));

  // Alignment
  const auto aligned = [&](std::uint32_t alignment) { return Gguf().u32("general.alignment", alignment); };
  for (const std::uint32_t alignment : {0u, 3u, 13u, 33u, 0x7fffffffu, 0xffffffffu, 1u << 17, 1u << 30, 1u << 31})
    add(fmt::format("alignment_{}", alignment), aligned(alignment), "a power of two up to 65536");
  for (const std::uint32_t alignment : {1u, 2u, 8u, 1u << 16})
    opens(fmt::format("alignment_{}", alignment), aligned(alignment));
  add("alignment_i32", Gguf().entry("general.alignment", kI32, Bytes().u32(32)), "must be a u32");
  add("alignment_u64", Gguf().entry("general.alignment", kU64, Bytes().u64(32)), "must be a u32");
  add("alignment_string", Gguf().entry("general.alignment", kString, Bytes().text("32")), "must be a u32");
  add("alignment_array", Gguf().array("general.alignment", kU32, 1, Bytes().u32(32)), "must be a u32");
  add("alignment_twice", aligned(32).u32("general.alignment", 64), "appears twice");

  // Splits, opened alone
  add("split_count_65536", Gguf().u32("split.count", 65536), "split.count is 65536");
  add("split_count_2^63", Gguf().entry("split.count", kU64, Bytes().u64(1ull << 63)), "split.count is");
  add("split_count_string", Gguf().entry("split.count", kString, Bytes().text("2")), "split.count must be");
  add("split_count_negative", Gguf().entry("split.count", kI32, Bytes().number(-1)), "split.count must be");
  add("split_alone", Gguf().u32("split.count", 2), "part 1 of 2");
  add("split_second_alone", Gguf().u32("split.count", 2).u32("split.no", 1), "part 2 of 2");
  add("split_tensors_count_wrong", Gguf().u32("split.tensors.count", 1), "split.tensors.count is 1, the parts hold 0");
  add("split_no_without_count", Gguf().u32("split.no", 5), "part 6 of 1");
  return cases;
}

}  // namespace mlx_native::hostile
