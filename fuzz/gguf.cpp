// Any bytes opened as a GGUF file: an error value or a file that does not contradict itself.
#include <cstddef>
#include <cstdint>

#include "files/gguf_state.h"
#include "hostile/touch.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mlx_native;
  const auto file = detail::GgufAccess::from_memory({data, data + size});
  if (!file) {
    if (file.error().kind != ErrorKind::GgufParseError || file.error().message.empty()) __builtin_trap();
  } else if (hostile::touch(*file) < 0) {
    __builtin_trap();
  }
  return 0;
}
