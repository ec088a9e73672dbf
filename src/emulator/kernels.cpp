#include "emulator/kernels.h"

#include "emulator/executor.h"
#include "gpu/launch/rows.h"

namespace mlx_native::emulator {

namespace {
struct Entries {
  template <class Family>
  static constexpr detail::KernelEntry entry() {
    return [](const void* args, void* launch) {
      Family::launch(*static_cast<Launch*>(launch), *static_cast<const typename Family::Args*>(args));
    };
  }
};
}  // namespace

std::vector<detail::Kernel> kernels() { return gpu::rows<Entries>(Backend::Emulator, "emulator.simt"); }

}  // namespace mlx_native::emulator
