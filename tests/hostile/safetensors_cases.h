// Safetensors files, malformed and at the edge.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "hostile/bytes.h"

namespace mlx_native::hostile {

inline std::vector<std::uint8_t> safetensors(std::string_view header, std::size_t data_bytes) {
  return Bytes().text(header).fill(data_bytes, 7).data;
}

inline const char* kSmallSafetensors =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
    R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"s":{"dtype":"I64","shape":[],"data_offsets":[20,28]}}  )";

inline std::vector<Case> safetensors_cases() {
  constexpr auto kParse = ErrorKind::SafetensorsError;
  std::vector<Case> cases;
  const auto raw = [&](std::string name, std::vector<std::uint8_t> bytes, const char* text) {
    cases.push_back({std::move(name), std::move(bytes), kParse, text});
  };
  const auto add = [&](std::string name, std::string_view header, std::size_t data, const char* text) {
    raw(std::move(name), safetensors(header, data), text);
  };
  const auto opens = [&](std::string name, std::string_view header, std::size_t data) {
    cases.push_back({std::move(name), safetensors(header, data), std::nullopt, ""});
  };
  /// One tensor "t" with these fields.
  const auto tensor = [](std::string_view fields) { return fmt::format(R"({{"t":{{{}}}}})", fields); };
  const auto fields = [&](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return tensor(fmt::format(R"("dtype":"{}","shape":{},"data_offsets":{})", dtype, shape, offsets));
  };

  opens("small", kSmallSafetensors, 28);
  opens("no_tensors", "{}", 0);
  opens(
      "empty_tensors",
      R"({"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
      2);
  opens("unknown_dtype", fields("F7_E3M3", "[3]", "[0,5]"), 5);
  opens("sub_byte_dtype", fields("F4", "[3,2]", "[0,3]"), 3);

  // Length of the header
  for (const std::size_t length : {0, 1, 7})
    raw(fmt::format("file_of_{}_bytes", length), Bytes().fill(length).data, "8 bytes are needed");
  raw("header_0", Bytes().u64(0).fill(8).data, "does not begin with '{'");
  raw("header_1", Bytes().u64(1).raw("{").fill(8).data, "unexpected");
  raw("header_past_the_end", Bytes().u64(3).raw("{}").data, "3 bytes are needed, 2 are left");
  for (const auto length : {100'000'001ull, 1ull << 31, 1ull << 32, 1ull << 63, ~0ull, ~0ull - 7})
    raw(fmt::format("header_{:x}", length), Bytes().u64(length).raw("{}").fill(64).data, "at most 100000000");
  raw("header_at_the_limit_in_a_small_file", Bytes().u64(100'000'000).raw("{}").fill(64).data,
      "100000000 bytes are needed");

  // JSON
  for (const char* text : {"[]", "null", "1", "\"a\"", " {}", "\xef\xbb\xbf{}", ""})
    add(fmt::format("not_an_object_{}", cases.size()), text, 0, "does not begin with '{'");
  for (const char* text : {"{", "{}}", "{} x", "{\"a\"", "{\"a\":", "{'a':{}}", "{\"a\":{},}", "{/**/}", "{\"a\":{}",
                           "{\"a\" {}}", "{nan}"})
    add(fmt::format("not_json_{}", cases.size()), text, 0, "");
  add("nul_after_the_object", std::string_view("{}\0x", 4), 0, "byte 10: a zero byte");
  for (const char* value : {"null", "true", "1", "-1", "1.5", "\"x\"", "[]", "[{}]"})
    add(fmt::format("tensor_is_{}", cases.size()), fmt::format("{{\"t\":{}}}", value), 0, "cannot stand here");
  for (const char open : {'{', '['}) {
    std::string deep = "{\"t\":";
    for (int i = 0; i < 100'000; ++i) deep += open == '{' ? std::string("{\"shape\":") : std::string("[");
    add(fmt::format("100000_deep_{}", open == '{' ? "objects" : "arrays"), deep, 0, "cannot stand here");
  }
  add("shape_100000_deep", "{\"t\":{\"shape\":" + std::string(100'000, '['), 0, "cannot stand here");
  add("name_not_utf8", "{\"\xff\":{}}", 0, "unexpected");
  add("name_lone_surrogate", R"({"\ud800":{}})", 0, "unexpected");
  add("name_with_nul", R"({"a\u0000b":{}})", 0, "is not a name");
  add("name_with_escape", R"({"\u001b[2J":{}})", 0, "is not a name");
  add("name_empty", R"({"":{}})", 0, "is not a name");
  add("name_too_long", "{\"" + std::string(65536, 'n') + "\":{}}", 0, "is not a name");

  // Numbers
  for (const char* number : {"-1", "-0", "1.5", "8.0", "8e0", "1e400", "-1e400", "18446744073709551616", "1e19",
                             "\"8\"", "null", "true", "[8]", "{}"}) {
    add(fmt::format("offset_{}", cases.size()), fields("U8", "[8]", fmt::format("[0,{}]", number)), 8, "");
    add(fmt::format("extent_{}", cases.size()), fields("U8", fmt::format("[{}]", number), "[0,8]"), 8, "");
  }
  for (const char* number :
       {"9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551615"}) {
    add(fmt::format("offset_{}", number), fields("U8", "[8]", fmt::format("[0,{}]", number)), 8, "do not lie in order");
    add(fmt::format("extent_{}", number), fields("U8", fmt::format("[{}]", number), "[0,8]"), 8,
        "does not take the 8 bytes");
  }

  // Repetitions
  const std::string ok = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  add("tensor_twice", fmt::format(R"({{"t":{},"t":{}}})", ok, ok), 1, "\"t\" appears twice");
  add("dtype_twice", tensor(R"("dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1])"), 1, "appears twice");
  add("shape_twice", tensor(R"("dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1])"), 1, "appears twice");
  add("offsets_twice", tensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1])"), 1,
      "appears twice");
  add("metadata_twice", R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__ appears twice");
  add("metadata_key_twice", R"({"__metadata__":{"a":"1","a":"1"}})", 0, "__metadata__ key \"a\" appears twice");
  for (const char* value : {"1", "null", "[]", "{}", "true"})
    add(fmt::format("metadata_value_{}", cases.size()), fmt::format(R"({{"__metadata__":{{"a":{}}}}})", value), 0,
        "cannot stand here");
  for (const char* value : {"1", "null", "[]", "\"a\""})
    add(fmt::format("metadata_is_{}", cases.size()), fmt::format(R"({{"__metadata__":{}}})", value), 0,
        "cannot stand here");

  // Fields
  add("no_dtype", tensor(R"("shape":[1],"data_offsets":[0,1])"), 1, "no dtype");
  add("no_shape", tensor(R"("dtype":"U8","data_offsets":[0,1])"), 1, "no shape");
  add("no_offsets", tensor(R"("dtype":"U8","shape":[1])"), 1, "no data_offsets");
  add("no_fields", tensor(""), 1, "no dtype");
  add("unknown_field", tensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"offset":1)"), 1, "an unknown field");
  add("dtype_empty", fields("", "[1]", "[0,1]"), 1, "is not a name");
  add("dtype_array", tensor(R"("dtype":["U8"],"shape":[1],"data_offsets":[0,1])"), 1, "cannot stand here");
  for (const char* offsets : {"[]", "[0]", "[0,1,1]", "[0,1,2,3]"})
    add(fmt::format("offsets_{}", offsets), fields("U8", "[1]", offsets), 1, "2 are needed");
  const auto ones = [](int rank) {
    std::string shape = "[1";
    for (int i = 1; i < rank; ++i) shape += ",1";
    return shape + "]";
  };
  opens("rank_64", fields("U8", ones(64), "[0,1]"), 1);
  add("rank_65", fields("U8", ones(65), "[0,1]"), 1, "more than 64 numbers");
  add("rank_10000", fields("U8", ones(10000), "[0,1]"), 1, "more than 64 numbers");

  // Places
  add("begin_after_end", fields("U8", "[1]", "[1,0]"), 1, "do not lie in order");
  add("end_past_the_file", fields("U8", "[2]", "[0,2]"), 1, "do not lie in order");
  add("unknown_dtype_past_the_file", fields("X", "[2]", "[0,2]"), 1, "do not lie in order");
  add("begin_and_header_wrap", fields("U8", "[1]", "[18446744073709551600,18446744073709551601]"), 1,
      "do not lie in order");
  add("shape_wraps_to_0", fields("U8", "[4294967296,4294967296]", "[0,0]"), 0, "more than 2^64 - 1 elements");
  add("shape_wraps_to_8", fields("U8", "[9223372036854775812,2]", "[0,8]"), 8, "more than 2^64 - 1 elements");
  add("bits_wrap_to_8_bytes", fields("F64", "[288230376151711745]", "[0,8]"), 8, "does not take the 8 bytes");
  add("shape_smaller_than_place", fields("F32", "[1]", "[0,8]"), 8,
      "tensor \"t\": shape [1] of F32 does not take the 8 bytes");
  add("shape_larger_than_place", fields("F32", "[3]", "[0,8]"), 8, "does not take the 8 bytes");
  add("half_a_byte", fields("F4", "[3]", "[0,1]"), 1, "does not take");
  add("half_a_byte_rounded_up", fields("F4", "[3]", "[0,2]"), 2, "does not take");
  add("a_tail", fields("U8", "[1]", "[0,1]"), 2, "1 bytes at the end");
  add("a_tail_without_tensors", "{}", 1, "1 bytes at the end");
  add("a_gap_before", fields("U8", "[1]", "[1,2]"), 2, "begins at byte 1");
  const auto two = [](const char* a, const char* b) {
    return fmt::format(
        R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
        a, b);
  };
  opens("out_of_order", two("[4,8]", "[0,4]"), 8);
  add("a_gap_between", two("[0,4]", "[5,9]"), 9, "\"b\" begins at byte 5");
  add("overlap", two("[0,4]", "[3,7]"), 7, "\"b\" begins at byte 3");
  add("alias", two("[0,4]", "[0,4]"), 4, "begins at byte 0");
  return cases;
}

}  // namespace mlx_native::hostile
