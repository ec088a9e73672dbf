#include "mlx_native/kernel_registry.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "core/error.h"
#include "runtime/access.h"
#include "runtime/backends.h"

namespace mlx_native {

using namespace detail;

namespace detail {

std::span<const std::shared_ptr<const Kernel>> builtin_kernels() {
  // This and other tables are never destroyed: threads may still compute while a program ends.
  static const auto& kernels = *new const auto([] {
    std::vector<std::shared_ptr<const Kernel>> all;
    for (const BackendEntry& entry : backends())
      for (Kernel& kernel : entry.kernels()) all.push_back(std::make_shared<const Kernel>(std::move(kernel)));
    return all;
  }());
  return kernels;
}

}  // namespace detail

namespace {

using KernelPtr = std::shared_ptr<const Kernel>;

/// What kernels are looked up by; format -1 stands for none.
using Key = std::tuple<Backend, Op, std::int64_t>;

Key key_of(Backend backend, Op op, std::optional<GgmlType> format) {
  return {backend, op, format ? std::int64_t{static_cast<std::uint32_t>(*format)} : -1};
}

/// The built-in kernels by name and by key, in table order. Made once.
struct Builtins {
  std::map<std::string, KernelPtr, std::less<>> by_name;
  std::map<Key, std::vector<KernelPtr>> by_key;
};

const Builtins& builtins() {
  static const auto& all = *new const auto([] {
    Builtins b;
    for (const KernelPtr& kernel : builtin_kernels()) {
      b.by_name.emplace(kernel->name, kernel);
      b.by_key[key_of(kernel->backend, kernel->op, kernel->format)].push_back(kernel);
    }
    return b;
  }());
  return all;
}

}  // namespace

struct KernelRegistry::State {
  mutable std::mutex mutex;
  std::map<std::string, KernelPtr, std::less<>> user;
  std::map<Key, KernelPtr> forced;
  /// A kernel that was prepared on a device. Neither lives by it: a device goes, a user's kernel is replaced, and a new
  /// one may have the old one's address.
  struct Prepared {
    std::weak_ptr<const Kernel> kernel;
    std::weak_ptr<const Device> device;
  };
  mutable std::map<std::pair<const Kernel*, const Device*>, Prepared> prepared;

  Result<KernelPtr> prepare(KernelPtr kernel, const std::shared_ptr<Device>& device) const {
    const std::lock_guard lock(mutex);
    Prepared& entry = prepared[{kernel.get(), device.get()}];
    if (entry.kernel.lock() != kernel || entry.device.lock() != device) {
      MLXN_TRY(device->prepare_kernel(*kernel));
      entry = {kernel, device};
    }
    return kernel;
  }

  KernelPtr find(std::string_view name) const {
    const std::lock_guard lock(mutex);
    if (const auto it = user.find(name); it != user.end()) return it->second;
    const auto it = builtins().by_name.find(name);
    return it == builtins().by_name.end() ? nullptr : it->second;
  }
};

KernelRegistry::KernelRegistry() : state_(std::make_shared<State>()) {}

Result<void> KernelRegistry::register_kernel(UserKernel kernel) {
  if (kernel.name.empty()) return invalid("register_kernel: an empty name");
  if (!kernel.run) return invalid("register_kernel: \"{}\" has an empty function", kernel.name);
  if (builtins().by_name.contains(kernel.name))
    return invalid("register_kernel: \"{}\" is a built-in kernel", kernel.name);
  auto row = std::make_shared<const Kernel>(Kernel{
      .name = kernel.name, .backend = kernel.backend, .op = Op::User, .format = {}, .user = std::move(kernel.run)});
  const std::lock_guard lock(state_->mutex);
  state_->user[row->name] = row;
  return {};
}

Result<KernelPtr> KernelRegistry::get(std::string_view name, const MlxDevice& device) const {
  return RegistryAccess::get(*this, name, DeviceAccess::device(device));
}

Result<void> KernelRegistry::force(std::string_view name) {
  const auto it = builtins().by_name.find(name);
  if (it == builtins().by_name.end())
    return error(ErrorKind::KernelNotFound, "no built-in kernel is called \"{}\"", name);
  const std::lock_guard lock(state_->mutex);
  state_->forced[key_of(it->second->backend, it->second->op, it->second->format)] = it->second;
  return {};
}

void KernelRegistry::unforce() {
  const std::lock_guard lock(state_->mutex);
  state_->forced.clear();
}

std::vector<std::string> KernelRegistry::kernel_names(Backend backend) const {
  std::vector<std::string> names;
  for (const KernelPtr& kernel : builtin_kernels())
    if (kernel->backend == backend) names.push_back(kernel->name);
  const std::lock_guard lock(state_->mutex);
  for (const auto& [name, kernel] : state_->user)
    if (kernel->backend == backend) names.push_back(name);
  return names;
}

bool KernelRegistry::is_cached(std::string_view name) const {
  const std::lock_guard lock(state_->mutex);
  return std::ranges::any_of(state_->prepared, [&](const auto& entry) {
    const KernelPtr kernel = entry.second.kernel.lock();
    return kernel && kernel->name == name && !entry.second.device.expired();
  });
}

std::size_t KernelRegistry::cached_count() const {
  const std::lock_guard lock(state_->mutex);
  std::set<const Kernel*> kernels;
  for (const auto& [key, entry] : state_->prepared)
    if (!entry.kernel.expired() && !entry.device.expired()) kernels.insert(key.first);
  return kernels.size();
}

namespace detail {

Result<KernelPtr> RegistryAccess::get(const KernelRegistry& registry, std::string_view name,
                                      const std::shared_ptr<Device>& device) {
  KernelPtr kernel = registry.state_->find(name);
  if (!kernel) return error(ErrorKind::KernelNotFound, "no kernel is called \"{}\"", name);
  if (kernel->backend != device->backend())
    return invalid("kernel {} is for {}, the device is {}", name, backend_name(kernel->backend),
                   backend_name(device->backend()));
  return registry.state_->prepare(std::move(kernel), device);
}

Result<KernelPtr> RegistryAccess::select(const KernelRegistry& registry, const MlxDevice& device, Op op,
                                         std::optional<GgmlType> format, Precision precision, const void* args) {
  const std::string_view format_name = format ? ggml_type_name(*format) : "";
  const auto fits = [&](const Kernel& kernel) { return !kernel.supports || kernel.supports(args); };
  const Key key = key_of(device.backend(), op, format);
  KernelPtr forced;
  {
    const std::lock_guard lock(registry.state_->mutex);
    if (const auto it = registry.state_->forced.find(key); it != registry.state_->forced.end()) forced = it->second;
  }
  if (forced) {
    if (!fits(*forced))
      return invalid("the forced kernel {} does not support this {} problem", forced->name, op_name(op));
    return registry.state_->prepare(std::move(forced), DeviceAccess::device(device));
  }
  if (const auto it = builtins().by_key.find(key); it != builtins().by_key.end())
    for (const KernelPtr& kernel : it->second)
      if (kernel->accuracy <= precision && fits(*kernel))
        return registry.state_->prepare(kernel, DeviceAccess::device(device));
  return error(ErrorKind::KernelNotFound, "no kernel for {}{}{} on {} ({})", op_name(op), format ? " of " : "",
               format_name, backend_name(device.backend()), device.name());
}

bool RegistryAccess::forces(const KernelRegistry& registry, const MlxDevice& device, Op op,
                            std::optional<GgmlType> format) {
  const std::lock_guard lock(registry.state_->mutex);
  return registry.state_->forced.contains(key_of(device.backend(), op, format));
}

std::shared_ptr<const Kernel> RegistryAccess::first(Backend backend, Op op, std::optional<GgmlType> format) {
  const auto it = builtins().by_key.find(key_of(backend, op, format));
  return it == builtins().by_key.end() ? nullptr : it->second.front();
}

}  // namespace detail
}  // namespace mlx_native
