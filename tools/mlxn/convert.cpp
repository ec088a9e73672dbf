#include "convert.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

#include "mlx_native/quantize.h"

namespace mlxn {

using mlx_native::Result;

Result<void> convert(const Conversion& conversion,
                     const std::function<Result<void>(std::span<const std::uint8_t>)>& sink) {
  if (conversion.from == conversion.to) return sink(conversion.source);
  // Enough values for a thread to be worth starting, few enough to stay in its cache.
  constexpr std::size_t kPieceValues = 128 * 1024;
  const auto layout = *mlx_native::ggml_layout(conversion.from);
  const std::size_t row_bytes = conversion.row / layout.block_values * layout.block_bytes;
  const std::size_t piece_bytes = std::max<std::size_t>(1, kPieceValues / conversion.row) * row_bytes;

  const auto convert_piece = [&](std::span<const std::uint8_t> piece) {
    return mlx_native::dequantize(conversion.from, piece).and_then([&](const std::vector<float>& values) {
      return mlx_native::quantize(conversion.to, values);
    });
  };
  for (auto rest = conversion.source; !rest.empty();) {
    std::vector<Result<std::vector<std::uint8_t>>> pieces(conversion.threads);
    std::vector<std::jthread> workers;
    std::size_t count = 0;
    for (auto& piece : pieces) {
      const auto bytes = rest.first(std::min(piece_bytes, rest.size()));
      rest = rest.subspan(bytes.size());
      if (bytes.empty()) break;
      ++count;
      const auto work = [&piece, bytes, &convert_piece] { piece = convert_piece(bytes); };
      try {
        workers.emplace_back(work);
      } catch (const std::system_error&) {  // there may be no more threads
        work();
      }
    }
    workers.clear();  // joins
    for (std::size_t i = 0; i < count; ++i) {
      if (!pieces[i]) return tl::unexpected(pieces[i].error());
      if (auto done = sink(*pieces[i]); !done) return done;
    }
  }
  return {};
}

}  // namespace mlxn
