// A program outside the tree: opens a GGUF file through the installed headers and library.
#include <mlx_native/mlx_native.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto file = mlx_native::GgufFile::open(argv[1]);
  if (!file) {
    std::fprintf(stderr, "%s\n", file.error().message.c_str());
    return 1;
  }
  std::printf("mlx_native %s: %zu tensors\n", mlx_native::kVersion, file->tensor_names().size());
}
