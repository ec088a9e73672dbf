// Malformed GGUF headers and counts.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "hostile/bytes.h"

namespace mlx_native::hostile {

inline std::vector<Case> gguf_header_cases() {
  constexpr auto kParse = ErrorKind::GgufParseError;
  std::vector<Case> cases;
  const auto add = [&](std::string name, const Gguf& file, const char* text) {
    cases.push_back({std::move(name), file.build(), kParse, text});
  };
  const auto opens = [&](std::string name, const Gguf& file) {
    cases.push_back({std::move(name), file.build(), std::nullopt, ""});
  };

  opens("no_metadata_no_tensors", Gguf());
  opens("small", small_gguf());
  Gguf v2 = small_gguf();
  v2.version = 2;
  opens("version_2", v2);

  for (const std::size_t length : {0, 1, 3, 4, 7, 8, 15, 16, 23}) {
    auto bytes = Gguf().build();
    bytes.resize(length);
    cases.push_back({fmt::format("cut_at_{}", length), bytes, kParse, "are left"});
  }

  for (const char* magic : {"FUGG", "gguf", "GGML", "GGUE",
                            "\x7f"
                            "ELF",
                            "PK\x03\x04"}) {
    Gguf file;
    file.magic = magic;
    add(fmt::format("magic_{}", cases.size()), file, "magic number");
  }
  for (const std::uint32_t version : {0u, 1u, 4u, 0x7fffffffu, 0xffffffffu}) {
    Gguf file;
    file.version = version;
    add(fmt::format("version_{}", version), file, "only 2 and 3 can be read");
  }
  for (const std::uint32_t version : {0x01000000u, 0x02000000u, 0x03000000u}) {
    Gguf file;
    file.version = version;
    add(fmt::format("big_endian_version_{:x}", version), file, "big-endian");
  }

  for (const int shift : {31, 32, 61, 62, 63}) {
    Gguf tensors, metadata;
    tensors.tensor_count = metadata.metadata_count = 1ull << shift;
    add(fmt::format("tensor_count_2^{}", shift), tensors, "tensors, at most");
    add(fmt::format("metadata_count_2^{}", shift), metadata, "metadata entries, at most");
  }
  Gguf all_tensors, all_metadata, no_room, one_more_tensor, one_more_entry, both;
  all_tensors.tensor_count = all_metadata.metadata_count = ~0ull;
  add("tensor_count_all_ones", all_tensors, "tensors, at most");
  add("metadata_count_all_ones", all_metadata, "metadata entries, at most");
  no_room.tensor_count = 1u << 20;
  add("tensor_count_allowed_but_no_room", no_room, "tensors do not fit into");
  no_room.tensor_count = 0;
  no_room.metadata_count = 1u << 20;
  add("metadata_count_allowed_but_no_room", no_room, "metadata entries do not fit into");

  one_more_entry = small_gguf();
  one_more_entry.metadata_count = one_more_entry.entries.size() + 1;
  add("one_entry_more_than_there_are", one_more_entry, "metadata");
  one_more_tensor = small_gguf();
  one_more_tensor.tensor_count = one_more_tensor.tensors.size() + 1;
  add("one_tensor_more_than_there_are", one_more_tensor, "tensor 3 of 4");
  Gguf one_entry_less = small_gguf();
  one_entry_less.metadata_count = one_entry_less.entries.size() - 1;
  add("one_entry_less_than_there_are", one_entry_less, "tensor 0 of 3");
  // 13 bytes are one less than the smallest entry; 32 one less than the smallest tensor.
  both = Gguf().entry(Bytes().fill(13));
  add("room_for_no_entry", both, "1 metadata entries do not fit into the 13 bytes");
  cases.push_back({"room_for_no_tensor", Bytes().raw("GGUF").u32(3).u64(2).u64(0).fill(57).data, kParse,
                   "2 tensors do not fit into the 65 bytes"});
  return cases;
}

}  // namespace mlx_native::hostile
