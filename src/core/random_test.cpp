#include "core/random.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "core/sample_weight.h"

namespace mlx_native {
namespace {

__extension__ using Wide = unsigned __int128;

// Known answers of the Random123 distribution (kat_vectors): philox4x32 10.
TEST(RandomBits, KnownAnswer) { EXPECT_EQ(random_bits(0, 0), 0xe169c58d6627e8d5u); }

TEST(RandomBits, EveryBitOfSeedAndStepCounts) {
  const std::uint64_t base = random_bits(42, 7);
  for (int bit = 0; bit < 64; ++bit) {
    EXPECT_GE(std::popcount(base ^ random_bits(42 ^ std::uint64_t{1} << bit, 7)), 12);
    EXPECT_GE(std::popcount(base ^ random_bits(42, 7 ^ std::uint64_t{1} << bit)), 12);
  }
}

TEST(ScaleBits, IsTheHighHalfOfTheProduct) {
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::uint64_t bits = random_bits(1, i), n = random_bits(2, i) >> i % 63;
    EXPECT_EQ(scale_bits(bits, n), static_cast<std::uint64_t>(static_cast<Wide>(bits) * n >> 64));
  }
  EXPECT_EQ(scale_bits(~0ull, ~0ull), ~0ull - 1);
}

TEST(SampleWeight, IsTheExponentialAndFalls) {
  const float scale = static_cast<float>(0x1p26 / std::log(2.0));
  EXPECT_EQ(sample_weight(3, 3, scale), kSampleWeightOne);
  EXPECT_EQ(sample_weight(-INFINITY, 3, scale), 0u);
  EXPECT_EQ(sample_weight(-3e38f, 3e38f, scale), 0u);
  EXPECT_EQ(sample_weight(1, 3, 3.4e38f), 0u);
  std::uint32_t last = kSampleWeightOne;
  for (float x = 0; x > -24; x -= 0.0137f) {
    const std::uint32_t weight = sample_weight(x, 0, scale);
    EXPECT_NEAR(weight, 0x1p31 * std::exp(double{x}), 1 + 0x1p31 * std::exp(double{x}) * 4e-7) << x;
    EXPECT_LE(weight, last);
    last = weight;
  }
}

TEST(TopPWeight, IsTheFloor) {
  EXPECT_EQ(top_p_weight((1ull << 63) - 1, kTopPOne), (1ull << 63) - 1);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::uint64_t total = random_bits(3, i) >> 1 >> i % 60;
    const auto p = static_cast<std::uint32_t>(random_bits(4, i) >> 40) + 1;
    EXPECT_EQ(top_p_weight(total, p), static_cast<std::uint64_t>(static_cast<Wide>(total) * p >> 24));
  }
}

}  // namespace
}  // namespace mlx_native
