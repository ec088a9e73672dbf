#include "cpu/kernels.h"

#include <cstdlib>
#include <span>

#include "core/cpu_features.h"
#include "core/error.h"
#include "cpu/isa.h"

namespace mlx_native::cpu {

bool streams_into_l2 = false;

using detail::Kernel;

namespace {

constexpr Isa kIsas[] = {
#define MLXN_ISA_OF(isa) {#isa, [] { return cpu_features().isa; }, isa::add_rows},
    MLXN_ISAS(MLXN_ISA_OF)
#undef MLXN_ISA_OF
};

Result<const Isa*> choose() {
  const char* const wanted = std::getenv("MLXN_CPU_ISA");
  const bool any = !wanted || !*wanted;
  std::string known;
  for (const Isa& isa : kIsas) {
    if (any ? isa.available() : isa.name == std::string_view(wanted)) {
      if (isa.available()) return &isa;
      return error(ErrorKind::DeviceNotFound, "MLXN_CPU_ISA is \"{}\", which this processor lacks", wanted);
    }
    known += known.empty() ? "" : ", ";
    known += isa.name;
  }
  return error(ErrorKind::DeviceNotFound, "MLXN_CPU_ISA is \"{}\"; known are {}", wanted, known);
}

const Result<const Isa*>& preferred() {
  static const auto& isa = *new const auto([] {
    streams_into_l2 = cpu_features().zen4;
    return choose();
  }());
  return isa;
}

void add_rows(const Isa& isa, std::vector<Kernel>& rows) {
  struct Target {
    const Isa& isa;
    std::vector<Kernel>& rows;
  } target{isa, rows};
  const auto add = [](void* to, const KernelRow& row) {
    const auto& [of, all] = *static_cast<Target*>(to);
    std::string name = fmt::format("cpu.{}.{}{}", of.name, detail::op_name(row.op), row.variant);
    if (row.format) name += fmt::format(".{}", row.format);
    all.push_back({.name = std::move(name),
                   .backend = Backend::Cpu,
                   .op = row.op,
                   .format = row.format ? std::optional(row.type) : std::nullopt,
                   .accuracy = row.accuracy,
                   .entry = row.entry,
                   .supports = row.supports,
                   .scratch_bytes = row.scratch_bytes,
                   .brief = row.brief});
  };
  isa.add_rows({add, &target});
}

}  // namespace

Result<std::string> preferred_isa() {
  return preferred().map([](const Isa* isa) { return std::string(isa->name); });
}

std::vector<Kernel> kernels() {
  std::vector<Kernel> rows;
  const Isa* const first = preferred().value_or(nullptr);
  // Then those behind it: an ISA may have products alone, and the rest comes from the one that it extends.
  const std::span all(kIsas);
  const std::size_t from = first ? std::size_t(first - kIsas) : 0;
  for (const auto part : {all.subspan(from), all.first(from)})
    for (const Isa& isa : part)
      if (isa.available()) add_rows(isa, rows);
  return rows;
}

}  // namespace mlx_native::cpu
