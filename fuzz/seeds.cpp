// fuzz_seeds DIR: writes the files of tests/hostile to DIR/gguf and DIR/safetensors, blocks to DIR/decode, texts
// to DIR/tokenizer.
#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "hostile/gguf_header_cases.h"
#include "hostile/gguf_metadata_cases.h"
#include "hostile/gguf_tensor_cases.h"
#include "hostile/safetensors_cases.h"
#include "mlx_native/ggml_type.h"

namespace {

using mlx_native::hostile::Case;

// Larger files only make the fuzzer slow.
constexpr std::size_t kLargest = 4096;

bool write(const std::filesystem::path& directory, const std::vector<Case>& cases) {
  std::filesystem::create_directories(directory);
  for (const auto& one : cases) {
    if (one.bytes.size() > kLargest) continue;
    std::string name = one.name;
    for (char& c : name)
      if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    std::ofstream file(directory / name, std::ios::binary);
    if (!file.write(reinterpret_cast<const char*>(one.bytes.data()), static_cast<std::streamsize>(one.bytes.size())))
      return false;
  }
  return true;
}

std::vector<Case> blocks() {
  constexpr int kRandom = 0x100;
  std::mt19937 random(1);
  std::vector<Case> cases;
  const auto formats = mlx_native::weight_formats();
  for (std::size_t i = 0; i < formats.size(); ++i) {
    const auto bytes = std::size_t{2} * mlx_native::ggml_layout(formats[i])->block_bytes;
    for (const int fill : {0x00, 0xff, kRandom}) {
      std::vector<std::uint8_t> block{static_cast<std::uint8_t>(i)};
      for (std::size_t b = 0; b < bytes; ++b)
        block.push_back(static_cast<std::uint8_t>(fill == kRandom ? random() : unsigned(fill)));
      cases.push_back(
          {fmt::format("{}_{:03x}", mlx_native::ggml_type_name(formats[i]), fill), std::move(block), {}, ""});
    }
  }
  return cases;
}

/// Each text for every way to cut it that there is, and more that repeat them.
std::vector<Case> texts() {
  std::vector<Case> cases;
  for (const std::string_view text :
       {"The query planner reads 12345 rows, doesn't it?\r\n\tYes - it'll  do  so.\n\n", "<|a|><|b|> <|a|>x<|",
        "'S'rE'LL 'x", "\u00e9\u4f60\u597d\u0639 \u2003\u0663\u00bd\U0001f600\u0301", "\xff\xc3 \xed\xa0\x80 \xf0\x9f",
        "          x   \n \n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})
    for (std::uint8_t how = 0; how < 12; ++how) {
      std::vector<std::uint8_t> bytes{how};
      bytes.insert(bytes.end(), text.begin(), text.end());
      cases.push_back({fmt::format("text_{}", cases.size()), std::move(bytes), {}, ""});
    }
  return cases;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: {} DIR\n", argv[0]);
    return 2;
  }
  using namespace mlx_native::hostile;
  const std::filesystem::path directory = argv[1];
  const bool written =
      write(directory / "gguf", gguf_header_cases()) && write(directory / "gguf", gguf_metadata_cases()) &&
      write(directory / "gguf", gguf_tensor_cases()) && write(directory / "safetensors", safetensors_cases()) &&
      write(directory / "decode", blocks()) && write(directory / "tokenizer", texts());
  if (!written) fmt::print(stderr, "cannot write to {}\n", directory.string());
  return written ? 0 : 1;
}
