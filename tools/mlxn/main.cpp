#include <fmt/format.h>
#include <mlx_native/mlx_native.h>

int main() {
  for (const mlx_native::Backend backend : mlx_native::available_backends())
    fmt::print("{}\n", mlx_native::backend_name(backend));
  return 0;
}
