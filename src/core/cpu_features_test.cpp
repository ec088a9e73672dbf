#include "core/cpu_features.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mlx_native {
namespace {

#if defined(__x86_64__) && defined(__linux__)
/// What the kernel says of the first processor under that name, in words.
std::set<std::string> of_kernel(std::string_view name) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name)) {
      std::istringstream words(line.substr(line.find(':') + 1));
      return {std::istream_iterator<std::string>(words), {}};
    }
  return {};
}

TEST(CpuFeatures, AgreeWithTheKernel) {
  const std::set<std::string> flags = of_kernel("flags");
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo says nothing";
  const auto all = [&](std::initializer_list<const char*> names) {
    return std::ranges::all_of(names, [&](const char* name) { return flags.contains(name); });
  };
  const CpuFeatures& f = cpu_features();
  EXPECT_EQ(f.avx2, all({"avx2", "fma", "f16c"}));
  EXPECT_EQ(f.avx512, all({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}));
  EXPECT_EQ(f.avx512_bf16, f.avx512 && all({"avx512_bf16"}));
  EXPECT_EQ(f.zen4,
            f.avx512 && of_kernel("vendor_id").contains("AuthenticAMD") && of_kernel("cpu family").contains("25"));
  EXPECT_EQ(f.avx_vnni, all({"avx_vnni"}));
  EXPECT_TRUE(!f.amx || (f.avx512 && all({"amx_tile", "amx_int8"})));
  EXPECT_FALSE(f.neon);
}

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

/// sums (16 x 16) += a (16 x 64 bytes) * b, whose rows hold four rows of the factor, byte by byte.
__attribute__((target("amx-tile,amx-int8"))) void multiply_tiles(const TileConfig& config, const std::int8_t* a,
                                                                 const std::int8_t* b, std::int32_t* sums) {
  _tile_loadconfig(&config);
  _tile_loadd(0, sums, 64);
  _tile_loadd(1, a, 64);
  _tile_loadd(2, b, 64);
  _tile_dpbssd(0, 1, 2);
  _tile_stored(0, sums, 64);
  _tile_release();
}

TEST(CpuFeatures, TilesWork) {
  if (!cpu_features().amx) GTEST_SKIP() << "this processor has no tiles, or the operating system refuses them";
  TileConfig config;
  for (int tile = 0; tile < 3; ++tile) config.row_bytes[tile] = 64, config.rows[tile] = 16;
  std::int8_t a[16][64], b[16][64];
  std::int32_t sums[16][16];
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 64; ++j) {
      a[i][j] = static_cast<std::int8_t>(37 * i + 11 * j);
      b[i][j] = static_cast<std::int8_t>(53 * i - 7 * j);
    }
    for (int j = 0; j < 16; ++j) sums[i][j] = i - j;
  }
  multiply_tiles(config, &a[0][0], &b[0][0], &sums[0][0]);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) {
      std::int32_t wanted = i - j;
      for (int k = 0; k < 64; ++k) wanted += a[i][k] * b[k / 4][4 * j + k % 4];
      EXPECT_EQ(sums[i][j], wanted) << i << " " << j;
    }
}
#endif

#if defined(__aarch64__)
TEST(CpuFeatures, EveryArmHasNeon) {
  EXPECT_TRUE(cpu_features().neon);
  EXPECT_FALSE(cpu_features().avx2);
  EXPECT_FALSE(cpu_features().amx);
}
#endif

TEST(CpuFeatures, PortableIsEverywhere) { EXPECT_TRUE(cpu_features().portable); }

}  // namespace
}  // namespace mlx_native
