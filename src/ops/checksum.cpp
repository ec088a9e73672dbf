#include "mlx_native/ops/checksum.h"

#include "args/checksum.h"
#include "ops/call.h"

namespace mlx_native {

Result<void> checksum(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                      const MlxBuffer& input, MlxBuffer& sums, const ChecksumParams& params) {
  const std::uint64_t n = params.n_words;
  ops::Call call("checksum", encoder, registry, device);
  call.extents({{"n_words", n}});
  const auto* const words = call.read<std::uint32_t>("input", input, {n});
  auto* const out = call.write<std::uint32_t>("sums", sums, {n / kChecksumWords + (n % kChecksumWords != 0)});
  return call.encode(ops::Op::Checksum, ChecksumArgs{words, out, n, kChecksumWords});
}

}  // namespace mlx_native
