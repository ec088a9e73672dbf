#include "runtime/fuse_products.h"

#include <algorithm>

#include "args/fused.h"
#include "args/moe.h"
#include "args/norm.h"

namespace mlx_native::detail {

namespace {

std::uint64_t rows_of(const MatmulArgs& a) { return a.m; }
std::uint64_t rows_of(const MatmulIdArgs& a) { return std::uint64_t{a.n_tokens} * a.top_k; }
std::uint64_t input_rows(const MatmulArgs& a) { return a.m; }
std::uint64_t input_rows(const MatmulIdArgs& a) { return a.n_tokens; }
Bytes weight_of(const MatmulArgs& a, const std::uint8_t* weight) { return {weight, a.n * a.row_bytes}; }
Bytes weight_of(const MatmulIdArgs& a, const std::uint8_t* weight) {
  return {weight, (a.n_experts - std::uint64_t{1}) * a.expert_stride + a.n * a.row_bytes};
}
Bytes ids_of(const MatmulArgs&) { return {}; }
Bytes ids_of(const MatmulIdArgs& a) { return {a.ids, rows_of(a) * sizeof *a.ids}; }
Bytes output_of(const auto& a) { return floats(a.output, rows_of(a), a.n); }

/// Whether both are of the same shape and input, and so by one kernel's arithmetic.
bool alike(const MatmulArgs& a, const MatmulArgs& b) {
  return a.input == b.input && a.row_bytes == b.row_bytes && a.m == b.m && a.n == b.n && a.k == b.k;
}
bool alike(const MatmulIdArgs& a, const MatmulIdArgs& b) {
  return a.input == b.input && a.ids == b.ids && a.row_bytes == b.row_bytes && a.expert_stride == b.expert_stride &&
         a.n_tokens == b.n_tokens && a.top_k == b.top_k && a.n == b.n && a.k == b.k && a.n_experts == b.n_experts;
}

template <class Args>
struct Product {
  std::shared_ptr<const Kernel> fused;
  Args args;
};
/// The next command, if it is a product by a kernel with a fused form.
template <class Args>
std::optional<Product<Args>> take_product(Reader& commands, Backend backend, Op op, Op fused_op) {
  const Command* const command = commands.next();
  if (!command || command->kernel->op != op) return {};
  auto fused = RegistryAccess::first(backend, fused_op, command->kernel->format);
  if (!fused || fused->alone != command->kernel->entry) return {};
  commands.skip();
  return Product<Args>{std::move(fused), args_of<Args>(*command)};
}

/// The bytes that a command of several will write and read.
struct Traffic {
  std::vector<Bytes> written, read;
  bool safe() const { return apart(written, read); }
};

/// The norm of a product's input.
struct InputNorm {
  RmsNormArgs args;
  bool of(const MatmulArgs& a) const { return args.output == a.input && args.rows == a.m && args.dim == a.k; }
};

Traffic traffic_of(const auto& a, const std::optional<InputNorm>& norm) {
  Traffic traffic{{output_of(a)}, {weight_of(a, a.weight), ids_of(a)}};
  if (norm) {
    traffic.written.push_back(floats(norm->args.output, norm->args.rows, norm->args.dim));
    traffic.read.push_back(floats(norm->args.input, norm->args.rows, norm->args.dim));
    traffic.read.push_back(floats(norm->args.weight, norm->args.dim));
  } else {
    traffic.read.push_back(floats(a.input, input_rows(a), a.k));
  }
  return traffic;
}

/// The activation of two products, the first of which is `gate`.
template <class Args>
std::optional<SiluMulArgs> take_silu(Reader& commands, const Product<Args>& gate, const Product<Args>& up,
                                     Traffic traffic) {
  if (up.fused != gate.fused || !alike(gate.args, up.args)) return {};
  const auto silu = commands.take<SiluMulArgs>(Op::SiluMul);
  if (!silu || silu->gate != gate.args.output || silu->up != up.args.output ||
      silu->n != rows_of(gate.args) * gate.args.n)
    return {};
  traffic.written.push_back(output_of(up.args));
  if (silu->output != gate.args.output && silu->output != up.args.output)
    traffic.written.push_back(floats(silu->output, silu->n));
  traffic.read.push_back(weight_of(up.args, up.args.weight));
  if (!traffic.safe()) return {};
  return silu;
}

struct Residual {
  const float* from;
  float* sum;
};
std::optional<Residual> take_residual(Reader& commands, const MatmulArgs& a, Traffic traffic) {
  const auto add = commands.take<BinaryArgs>(Op::Add);
  if (!add || add->rows != a.m || add->cols != a.n || !other_term(*add, a.output)) return {};
  const Residual residual{other_term(*add, a.output), add->output};
  if (residual.from != residual.sum) traffic.read.push_back(floats(residual.from, a.m, a.n));
  traffic.written.push_back(floats(residual.sum, a.m, a.n));
  if (!traffic.safe()) return {};
  return residual;
}

void set_norm(FusedMatmulArgs& args, const std::optional<InputNorm>& norm, bool stored) {
  if (!norm) return;
  args.product.input = norm->args.input;
  args.norm = norm->args.weight;
  args.normed = stored ? norm->args.output : nullptr;
  args.eps = norm->args.eps;
}

/// What a product that makes the norm for itself uses, instead of the norm's result.
std::vector<Use> uses_of_norm_itself(const Command& norm, std::vector<Use> uses) {
  for (const Use& made : norm.uses) {
    if (made.write)
      std::erase_if(uses, [&](const Use& use) {
        return !use.write && use.storage == made.storage && use.begin == made.begin && use.end == made.end;
      });
    else
      uses.push_back(made);
  }
  return uses;
}

/// norm product...; `first` was taken, at `at`.
Fused normed_products(Backend backend, std::span<const Command> commands, const InputNorm& norm, Reader at,
                      Product<MatmulArgs> product) {
  Fused fused;
  Traffic all;
  do {
    const Traffic traffic = traffic_of(product.args, norm);
    all.read.insert(all.read.end(), traffic.read.begin(), traffic.read.end());
    all.written.insert(all.written.end(), traffic.written.begin(), traffic.written.end() - (fused.by.empty() ? 0 : 1));
    if (!norm.of(product.args) || !all.safe()) break;
    FusedMatmulArgs args{.product = product.args};
    set_norm(args, norm, fused.by.empty());
    const bool first = fused.by.empty();
    auto command = command_of(product.fused, args, first ? commands.first(2) : commands.subspan(at.taken() - 1, 1));
    if (!command) break;
    if (!first) command->uses = uses_of_norm_itself(commands[0], std::move(command->uses));
    fused.by.push_back(*std::move(command));
    fused.replaced = at.taken();
    auto next = take_product<MatmulArgs>(at, backend, Op::MatVec, Op::FusedMatVec);
    if (!next) break;
    product = *std::move(next);
  } while (true);
  return fused;
}

Fused fuse_routed(Backend backend, std::span<const Command> commands) {
  const auto take = [&](Reader& from) {
    return take_product<MatmulIdArgs>(from, backend, Op::MatVecId, Op::FusedMatVecId);
  };
  Reader reader(backend, commands);
  const auto gate = take(reader);
  const auto up = gate ? take(reader) : std::nullopt;
  if (!up) return {};
  const auto silu = take_silu(reader, *gate, *up, traffic_of(gate->args, {}));
  if (!silu) return {};
  return one_for_all(
      gate->fused,
      FusedMatmulIdArgs{
          .product = gate->args, .up = up->args.weight, .up_output = up->args.output, .gated = silu->output},
      commands.first(reader.taken()));
}

Fused fuse_router(Backend backend, std::span<const Command> commands) {
  Reader reader(backend, commands);
  const auto product = take_product<MatmulArgs>(reader, backend, Op::MatVec, Op::Router);
  const auto topk = product ? reader.take<MoeSoftmaxTopkArgs>(Op::MoeSoftmaxTopk) : std::nullopt;
  if (!topk || topk->logits != product->args.output || topk->n_tokens != product->args.m ||
      topk->n_experts != product->args.n)
    return {};
  Traffic traffic = traffic_of(product->args, {});
  const std::uint64_t slots = std::uint64_t{topk->n_tokens} * topk->top_k;
  traffic.written.push_back({topk->ids, slots * sizeof *topk->ids});
  traffic.written.push_back(floats(topk->weights, slots));
  if (!traffic.safe()) return {};
  return one_for_all(product->fused, RouterArgs{product->args, *topk}, commands.first(reader.taken()));
}

}  // namespace

bool norm_stays(Reader commands, Backend backend, const float* sum) {
  const auto norm = commands.take<RmsNormArgs>(Op::RmsNorm);
  if (!norm || norm->input != sum) return false;
  const auto product = take_product<MatmulArgs>(commands, backend, Op::MatVec, Op::FusedMatVec);
  return !product || !InputNorm{*norm}.of(product->args);
}

Fused fuse_products(Backend backend, std::span<const Command> commands) {
  if (auto fused = fuse_routed(backend, commands); fused.replaced) return fused;
  if (auto fused = fuse_router(backend, commands); fused.replaced) return fused;
  const auto take = [&](Reader& from) { return take_product<MatmulArgs>(from, backend, Op::MatVec, Op::FusedMatVec); };
  Reader reader(backend, commands);
  std::optional<InputNorm> norm;
  if (const auto args = reader.take<RmsNormArgs>(Op::RmsNorm)) norm = {*args};
  const auto product = take(reader);
  if (!product || (norm && !norm->of(product->args))) return {};
  const Traffic traffic = traffic_of(product->args, norm);

  FusedMatmulArgs args{.product = product->args};
  set_norm(args, norm, true);
  Reader gated = reader, added = reader;
  if (const auto up = take(gated)) {
    if (const auto silu = take_silu(gated, *product, *up, traffic)) {
      args.up = up->args.weight, args.up_output = up->args.output, args.gated = silu->output;
      return one_for_all(product->fused, args, commands.first(gated.taken()));
    }
  }
  // A norm that stays is better off with the sum that it is of.
  if (const auto residual = take_residual(added, product->args, traffic);
      residual && !norm_stays(added, backend, residual->sum)) {
    args.residual = residual->from, args.sum = residual->sum;
    return one_for_all(product->fused, args, commands.first(added.taken()));
  }
  return norm ? normed_products(backend, commands, *norm, reader, *product) : Fused{};
}

}  // namespace mlx_native::detail
