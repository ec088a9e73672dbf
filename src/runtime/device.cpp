#include "mlx_native/device.h"

#include <cstdlib>

#include "core/error.h"
#include "runtime/access.h"
#include "runtime/backends.h"
#include "runtime/profile.h"

namespace mlx_native {

using namespace detail;

std::string_view backend_name(Backend backend) {
  switch (backend) {
    case Backend::Cpu: return "cpu";
    case Backend::Cuda: return "cuda";
    case Backend::Metal: return "metal";
    case Backend::Emulator: return "emulator";
  }
  return "unknown";
}

std::vector<Backend> available_backends() {
  std::vector<Backend> available;
  for (const BackendEntry& entry : backends())
    if (entry.available()) available.push_back(entry.backend);
  return available;
}

Result<MlxDevice> MlxDevice::create(DeviceOptions options) {
  const char* const wanted = std::getenv("MLX_NATIVE_BACKEND");
  if (!wanted || !*wanted) return create(available_backends().front(), options);
  for (const Backend backend : {Backend::Cpu, Backend::Cuda, Backend::Metal, Backend::Emulator})
    if (backend_name(backend) == wanted) return create(backend, options);
  return error(ErrorKind::DeviceNotFound, "MLX_NATIVE_BACKEND is \"{}\"; known are cpu, cuda, metal and emulator",
               wanted);
}

Result<MlxDevice> MlxDevice::create(Backend backend, DeviceOptions options) {
  for (const BackendEntry& entry : backends()) {
    if (entry.backend != backend) continue;
    if (!entry.available())
      return error(ErrorKind::DeviceNotFound, "this machine has no {} device", backend_name(backend));
    MLXN_ASSIGN(auto device, entry.create(options));
    if (options.profile) device->keep_profile(std::make_shared<Profile>());
    return MlxDevice(std::move(device));
  }
  return error(ErrorKind::DeviceNotFound, "this build has no {} backend", backend_name(backend));
}

Backend MlxDevice::backend() const { return device_->backend(); }
const std::string& MlxDevice::name() const { return device_->name(); }
std::uint32_t MlxDevice::parallelism() const { return device_->parallelism(); }
std::size_t MlxDevice::total_memory() const { return device_->total_memory(); }
std::size_t MlxDevice::free_memory() const { return device_->free_memory(); }

std::vector<ProfileEntry> MlxDevice::profile() const {
  return device_->profile() ? device_->profile()->entries() : std::vector<ProfileEntry>();
}
void MlxDevice::reset_profile() const {
  if (device_->profile()) device_->profile()->reset();
}

Result<MlxBuffer> MlxDevice::alloc_buffer(std::size_t bytes, DType dtype, Shape shape) const {
  MLXN_TRY(BufferAccess::needed_bytes(bytes, dtype, shape));
  MLXN_ASSIGN(auto storage, device_->allocate(bytes));
  return BufferAccess::make(std::move(storage), dtype, std::move(shape), 0, bytes);
}

Result<MlxBuffer> MlxDevice::import_host(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                         DType dtype, Shape shape) const {
  MLXN_TRY(BufferAccess::needed_bytes(bytes.size(), dtype, shape));
  if (!bytes.data()) return invalid("import_host: {} bytes at a null address", bytes.size());
  MLXN_ASSIGN(auto storage, device_->import_host(bytes, std::move(owner)));
  return BufferAccess::make(std::move(storage), dtype, std::move(shape), 0, bytes.size());
}

Result<CommandEncoder> MlxDevice::command_encoder() const {
  MLXN_ASSIGN(auto queue, device_->create_queue());
  if (Profile* const profile = device_->profile()) queue = std::make_unique<ProfilingQueue>(std::move(queue), *profile);
  return EncoderAccess::make(std::make_unique<Commands>(device_, std::move(queue)));
}

}  // namespace mlx_native
