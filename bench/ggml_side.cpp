#include "ggml_side.h"

#include <ggml-cpu.h>
#include <ggml.h>

#include <cstring>
#include <map>
#include <stdexcept>
#include <vector>

namespace bench {

struct GgmlSide::State {
  struct FreeContext {
    void operator()(ggml_context* context) const { ggml_free(context); }
  };
  std::unique_ptr<ggml_context, FreeContext> context;
  std::vector<std::vector<float>> outputs;
  std::vector<ggml_tensor*> products;
  std::map<std::pair<std::size_t, std::size_t>, std::pair<ggml_cgraph*, ggml_cplan>> graphs;
  std::vector<std::uint8_t> work;
  int threads;
};

GgmlSide::GgmlSide(std::uint32_t type, std::uint32_t m, std::uint32_t n, std::uint32_t k,
                   std::span<const std::span<const std::uint8_t>> weights, std::span<const float> x, int threads)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.threads = threads;
  const std::size_t tensors = ggml_tensor_overhead() * (2 * weights.size() + 8);
  const std::size_t graphs = ggml_graph_overhead_custom(weights.size() + 8, false) * (weights.size() + 2);
  s.context.reset(ggml_init({.mem_size = tensors + graphs, .mem_buffer = nullptr, .no_alloc = true}));
  if (!s.context) throw std::runtime_error("ggml_init failed");
  ggml_tensor* const input = ggml_new_tensor_2d(s.context.get(), GGML_TYPE_F32, k, m);
  input->data = const_cast<float*>(x.data());
  for (const auto& blocks : weights) {
    ggml_tensor* const weight = ggml_new_tensor_2d(s.context.get(), static_cast<ggml_type>(type), k, n);
    weight->data = const_cast<std::uint8_t*>(blocks.data());
    ggml_tensor* const product = ggml_mul_mat(s.context.get(), weight, input);
    product->data = s.outputs.emplace_back(std::size_t{m} * n).data();
    s.products.push_back(product);
  }
}

GgmlSide::~GgmlSide() = default;

void GgmlSide::run(std::size_t first, std::size_t count) {
  State& s = *state_;
  auto [it, fresh] = s.graphs.try_emplace({first, count});
  auto& [graph, plan] = it->second;
  if (fresh) {
    graph = ggml_new_graph_custom(s.context.get(), s.products.size() + 8, false);
    for (std::size_t i = first; i < first + count; ++i) ggml_build_forward_expand(graph, s.products[i]);
    plan = ggml_graph_plan(graph, s.threads, nullptr);
    if (plan.work_size > s.work.size()) s.work.resize(plan.work_size);
  }
  plan.work_data = s.work.data();
  if (ggml_graph_compute(graph, &plan) != GGML_STATUS_SUCCESS) throw std::runtime_error("ggml_graph_compute failed");
}

std::span<const float> GgmlSide::output(std::size_t i) const { return state_->outputs[i]; }

std::string ggml_description() {
  std::string text = ggml_version();
  if (ggml_cpu_has_avx2()) text += " AVX2";
  if (ggml_cpu_has_avx512()) text += " AVX512";
  if (ggml_cpu_has_avx512_vnni()) text += " VNNI";
  if (ggml_cpu_has_llamafile()) text += " llamafile";
  return text;
}

}  // namespace bench
