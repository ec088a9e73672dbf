#include "conformance/conformance.h"

namespace mlx_native::conformance {
namespace {

class OpChecksum : public OnBackend {};
MLXN_ON_BACKENDS(OpChecksum);

TEST_P(OpChecksum, SumsEveryPartModulo32Bits) {
  for_each_kernel(Op::Checksum, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const std::uint64_t n : {1u, 63u, 4095u, 4096u, 4097u, 3u * 4096u + 65u, 70'001u})
      for (const MlxDevice& device : devices_of(GetParam())) {
        Random random(n);
        std::vector<std::uint32_t> words(n), want((n - 1) / kChecksumWords + 1);
        for (std::size_t i = 0; i < n; ++i)
          want[i / kChecksumWords] += words[i] = static_cast<std::uint32_t>(random.bits());
        Guarded<std::uint32_t> input(device, words, 4), sums(device, want.size(), 12);
        CommandEncoder encoder = device.command_encoder().value();
        expect_ok(checksum(encoder, registry, device, input.view(), sums.view(), {.n_words = n}));
        expect_ok(encoder.commit_and_wait());
        ASSERT_EQ(sums.read(), want) << n << " words, " << device.parallelism() << " threads";
        sums.expect_guards_intact();
      }
  });
}

}  // namespace
}  // namespace mlx_native::conformance
