// Malformed GGUF tensor lists.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "hostile/bytes.h"

namespace mlx_native::hostile {

inline std::vector<Case> gguf_tensor_cases() {
  std::vector<Case> cases;
  const auto add = [&](std::string name, const Gguf& file, const char* text) {
    cases.push_back({std::move(name), file.build(), ErrorKind::GgufParseError, text});
  };
  const auto opens = [&](std::string name, const Gguf& file) {
    cases.push_back({std::move(name), file.build(), std::nullopt, ""});
  };
  const auto one = [](std::vector<std::uint64_t> extents, std::uint32_t type, std::uint64_t offset,
                      std::uint64_t data) { return Gguf().tensor("t", extents, type, offset).data(data); };
  constexpr std::uint64_t kBig = 1ull << 63;
  constexpr std::uint32_t kTypeF32 = 0, kTypeQ8_0 = 8, kTypeQ4_K = 12, kTypeI8 = 24;

  // Dimensions
  for (const std::uint32_t dims : {0u, 5u, 8u, 9u, 1000u, 0x7fffffffu, 0xffffffffu})
    add(fmt::format("dims_{}", dims),
        Gguf().tensor(Bytes().text("t").u32(dims).u64(32).u64(1).u64(1).u64(1).u64(1).u32(0).u64(0)).data(128),
        "dimensions");
  opens("dims_4", one({2, 3, 4, 5}, kTypeF32, 0, 480));
  for (int d = 0; d < 4; ++d) {
    std::vector<std::uint64_t> extents(4, 1);
    extents[std::size_t(d)] = 0;
    add(fmt::format("extent_{}_is_0", d), one(extents, kTypeF32, 0, 64), "an extent of 0");
    extents[std::size_t(d)] = ~0ull;
    add(fmt::format("extent_{}_is_-1", d), one(extents, kTypeF32, 0, 64), "more than 2^63 - 1 elements");
    extents[std::size_t(d)] = kBig - 1;
    add(fmt::format("extent_{}_is_2^63-1", d), one(extents, kTypeF32, 0, 64), "more than 2^64 - 1 bytes");
  }
  add("product_wraps_to_0", one({1ull << 32, 1ull << 32}, kTypeI8, 0, 64), "more than 2^63 - 1 elements");
  add("product_wraps_to_small", one({1ull << 33, (1ull << 31) + 1}, kTypeI8, 0, 64), "more than 2^63 - 1 elements");
  add("product_wraps_over_four", one({1ull << 16, 1ull << 16, 1ull << 16, 1ull << 16}, kTypeI8, 0, 64),
      "more than 2^63 - 1 elements");
  add("product_2^63", one({1ull << 31, 1ull << 32}, kTypeI8, 0, 64), "more than 2^63 - 1 elements");
  add("bytes_wrap_to_0", one({1ull << 62}, kTypeF32, 0, 64), "more than 2^64 - 1 bytes");
  add("bytes_wrap_to_small", one({(1ull << 62) + 1}, kTypeF32, 0, 64), "more than 2^64 - 1 bytes");
  add("blocks_of_2^63_bytes", one({kBig - 32}, kTypeQ8_0, 0, 64), "run past the end");
  add("bytes_padded_wrap", one({kBig - 1}, kTypeI8, 0, 64), "run past the end");
  add("sum_of_sizes_wraps",
      Gguf()
          .tensor("a", {0x7fffffffffffffc0}, kTypeI8, 0)
          .tensor("b", {0x7fffffffffffffc0}, kTypeI8, 0x7fffffffffffffc0)
          .data(64),
      "run past the end");
  add("exabytes_that_wrap_to_4_MB", one({1ull << 20, 1ull << 44}, kTypeF32, 0, 4 << 20), "more than 2^63 - 1 elements");
  for (const std::uint64_t row : {1, 31, 33, 255, 257}) {
    add(fmt::format("row_of_{}_q8_0", row), one({row}, kTypeQ8_0, 0, 1024), "needs a multiple of 32");
    add(fmt::format("row_of_{}_q4_K", row), one({row, 256}, kTypeQ4_K, 0, 1 << 16), "needs a multiple of 256");
  }
  add("row_not_whole_though_the_total_is", one({16, 2}, kTypeQ8_0, 0, 64), "needs a multiple of 32");

  // Types: unknown ones are listed, and what can be known of them is checked
  for (const std::uint32_t type :
       {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 1000u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    opens(fmt::format("type_{}", type), one({32}, type, 0, 64));
    add(fmt::format("type_{}_past_the_end", type), one({32}, type, 96, 64), "run past the end");
  }
  add("unknown_type_unaligned", one({32}, 77, 16, 64), "not a multiple of the alignment");
  add("unknown_type_wraps", one({1ull << 32, 1ull << 32}, 77, 0, 64), "more than 2^63 - 1 elements");

  // Names
  const auto named = [](std::string_view name) { return Gguf().tensor(name, {8}, 0, 0).data(32); };
  add("name_empty", named(""), "is not a name");
  opens("name_63_bytes", named(std::string(63, 'n')));
  for (const std::size_t length : {64, 65, 1 << 20})
    add(fmt::format("name_{}_bytes", length), named(std::string(length, 'n')), "at most 63");
  for (const auto length : {1ull << 31, 1ull << 32, 1ull << 63, ~0ull})
    add(fmt::format("name_length_{:x}", length), Gguf().tensor(Bytes().u64(length).fill(64)), "a string of");
  add("name_with_nul", named(std::string_view("a\0b", 3)), "is not a name");
  add("name_with_escape", named("\x1b]0;x\x07"), "\\x1b");
  add("name_not_utf8", named("\xfe"), "is not a name");
  opens("name_like_a_path", named("../../etc/passwd"));
  add("name_twice", Gguf().tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).data(64), "\"t\" appears twice");
  add("name_twice_far_apart", Gguf().tensor("t", {8}, 0, 0).tensor("u", {8}, 0, 32).tensor("t", {8}, 0, 64).data(96),
      "\"t\" appears twice");

  // Offsets
  for (const std::uint64_t offset : {1, 4, 16, 31, 33})
    add(fmt::format("offset_{}", offset), one({8}, kTypeF32, offset, 128), "not a multiple of the alignment 32");
  add("offset_at_the_end", one({8}, kTypeF32, 64, 64), "run past the end");
  add("offset_past_the_end", one({8}, kTypeF32, 1 << 20, 64), "run past the end");
  for (const auto offset : {1ull << 32, 1ull << 63, ~0ull - 31, ~0ull - 63})
    add(fmt::format("offset_{:x}", offset), one({8}, kTypeF32, offset, 64), "run past the end");
  add("one_byte_missing", one({8}, kTypeF32, 0, 31), "run past the end");
  add("one_byte_missing_of_the_second", Gguf().tensor("a", {8}, 0, 0).tensor("b", {32}, 8, 32).data(32 + 33), "\"b\"");
  opens("no_final_padding", Gguf().tensor("a", {8}, 0, 0).tensor("b", {32}, 8, 32).data(32 + 34));
  opens("a_gap", Gguf().tensor("a", {8}, 0, 0).tensor("b", {8}, 0, 96).data(128));
  opens("a_tail", one({8}, kTypeF32, 0, 1000));
  opens("out_of_order", Gguf().tensor("a", {8}, 0, 32).tensor("b", {8}, 0, 0).data(64));
  add("same_place", Gguf().tensor("a", {8}, 0, 0).tensor("b", {8}, 0, 0).data(64), "overlap");
  add("overlap_by_one_block", Gguf().tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).data(64), "overlap at byte");
  add("overlap_out_of_order", Gguf().tensor("a", {8}, 0, 32).tensor("b", {16}, 0, 0).data(64), "overlap at byte");
  add("overlap_inside", Gguf().tensor("a", {64}, 0, 0).tensor("b", {8}, 0, 64).data(256), "overlap at byte");
  Gguf wide = Gguf().u32("general.alignment", 4096).tensor("a", {8}, 0, 32).data(8192);
  wide.alignment = 4096;
  add("offset_not_at_the_files_own_alignment", wide, "not a multiple of the alignment 4096");
  Gguf no_padding = Gguf().u32("general.alignment", 1 << 16).tensor("a", {8}, 0, 0).data(32);
  add("data_section_not_padded_to_its_alignment", no_padding, "run past the end");
  Gguf packed = Gguf().u32("general.alignment", 1).tensor("a", {3}, kTypeI8, 0).tensor("b", {3}, 0, 3).data(15);
  packed.alignment = 1;
  opens("alignment_1_packs_tensors", packed);
  return cases;
}

}  // namespace mlx_native::hostile
