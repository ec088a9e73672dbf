#include "formats/format.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <random>

#include "formats/list.h"

namespace mlx_native {
namespace {

// What kernels may rely on.
template <class F>
constexpr bool kWellFormed = [] {
  if constexpr (F::kPlain) {
    return F::kValues == 1 && sizeof(typename F::Block) == F::kAlign;
  } else {
    return F::kValues % 32 == 0 && (F::kGroup == 16 || F::kGroup == 32) && F::kBias >= 0 && F::kBias < 256 &&
           (F::kAlign & (F::kAlign - 1)) == 0 && F::kAlign <= 16 && sizeof(typename F::Block) % F::kAlign == 0;
  }
}();
#define MLXN_FORMAT(Name, ggml_name) static_assert(kWellFormed<Name>);
MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT

constexpr std::array<std::uint8_t, 16> kRun = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255};

TEST(WordReader, LoadsItsWordLowestByteFirst) {
  EXPECT_EQ(WordReader<1>{0}.load(kRun.data()), 0x04030201u);
  EXPECT_EQ(WordReader<2>{1}.load(kRun.data()), 0x08070605u);
  EXPECT_EQ(WordReader<16>{3}.load(kRun.data()), 0xff0f0e0du);
}

TEST(WordReader, SpreadsEveryPatternOfBits) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    for (int index = 0; index < 4; ++index) {
      const std::uint32_t word = WordReader<1>{index}.spread(bits);
      for (int i = 0; i < 4; ++i) ASSERT_EQ(code_of(word, i), int(bits >> (4 * index + i) & 1)) << bits;
    }
  }
}

TEST(WordReader, LooksUpEachByte) {
  constexpr std::int8_t table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  const std::uint32_t word = WordReader<1>{0}.lookup(table, 0x0f000801u);
  EXPECT_EQ(std::int8_t(code_of(word, 0)), -104);
  EXPECT_EQ(std::int8_t(code_of(word, 1)), 1);
  EXPECT_EQ(std::int8_t(code_of(word, 2)), -127);
  EXPECT_EQ(std::int8_t(code_of(word, 3)), 113);
}

/// A format's block_factors() or group_bytes(), if it has one.
template <class F>
auto factors_of(const typename F::Block& block) {
  if constexpr (requires { F::block_factors(ScalarReader<1>{}, block); })
    return F::block_factors(ScalarReader<1>{}, block);
  else if constexpr (requires { F::group_bytes(ScalarReader<1>{}, block); })
    return F::group_bytes(ScalarReader<1>{}, block);
}
template <class F>
void expect_factors_of_affine() {
  using Block = typename F::Block;
  if constexpr (!std::is_void_v<decltype(factors_of<F>(std::declval<Block>()))>) {
    std::mt19937 random(7);
    const auto byte = [](std::uint32_t word, int i) { return float(std::int8_t(word >> 8 * i)); };
    for (int i = 0; i < 4000; ++i) {
      std::array<std::uint8_t, sizeof(Block)> bytes;
      for (auto& b : bytes) b = std::uint8_t(random());
      Block block;
      std::memcpy(&block, bytes.data(), sizeof(Block));
      const auto all = factors_of<F>(block);
      if (all.scale_unit != all.scale_unit || all.offset_unit != all.offset_unit) continue;  // any NaN would do
      for (int g = 0; g < F::kValues / F::kGroup; ++g) {
        const Affine want = F::affine(block, g);
        const float scale = all.scale_unit * byte(all.scales[g / 4], g % 4);
        if constexpr (requires { F::kFolds; }) {
          for (const int code : {0, (1 << F::kBits) - 1}) {
            ASSERT_GE(float(code - F::kBias) * byte(all.scales[g / 4], g % 4), -127.0f);
            ASSERT_LE(float(code - F::kBias) * byte(all.scales[g / 4], g % 4), 128.0f);
          }
        }
        if (want.scale == want.scale) {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(want.scale), std::bit_cast<std::uint32_t>(scale)) << g;
        }
        if (F::kHasOffset && want.offset == want.offset) {
          ASSERT_EQ(want.offset, all.offset_unit * byte(all.offsets[g / 4], g % 4)) << g;
        }
      }
    }
  }
}
TEST(Formats, FactorsOfABlockAreThoseOfItsGroups){
#define MLXN_FORMAT(Name, ggml_name)  \
  {                                   \
    SCOPED_TRACE(#Name);              \
    expect_factors_of_affine<Name>(); \
  }
    MLXN_FORMATS(MLXN_FORMAT)
#undef MLXN_FORMAT
}

TEST(FormatList, FindsEachFormatByItsType) {
  for (const GgmlType type : weight_formats()) {
    GgmlType visited{~0u};
    EXPECT_TRUE(with_format(type, [&]<class F>() { visited = kTypeOf<F>; }));
    EXPECT_EQ(visited, type);
  }
  EXPECT_FALSE(with_format(GgmlType::I32, []<class F>() { FAIL(); }));
}

}  // namespace
}  // namespace mlx_native
