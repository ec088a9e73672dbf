// ggml and its descendant ik_llama.cpp behind peer.h: compiled once for each, with MLXN_PEER_IK for the latter.
#include <ggml-backend.h>
#include <ggml.h>
#ifdef MLXN_PEER_IK
extern "C" void iqk_repack_tensor(ggml_tensor* tensor);
#else
#include <ggml-cpu.h>
#endif

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "peer.h"

namespace {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Context = std::unique_ptr<ggml_context, Deleter<ggml_free>>;
using Buffer = std::unique_ptr<ggml_backend_buffer, Deleter<ggml_backend_buffer_free>>;
using Bytes = std::unique_ptr<void, Deleter<std::free>>;

Context make_context(std::size_t tensors, std::size_t graphs, std::size_t nodes) {
  const std::size_t size = ggml_tensor_overhead() * tensors + ggml_graph_overhead_custom(nodes, false) * graphs + 4096;
  return Context(ggml_init({size, nullptr, true}));
}

struct Side {
  std::uint32_t n, k, experts;
  Context weight_context, product_context;
  std::vector<ggml_tensor*> weights;
  Buffer buffer;              // ggml: the repacked weights
  std::vector<Bytes> copies;  // ik: the same
  std::uint32_t rows = 0, top = 0;
  std::vector<std::vector<float>> outputs;
  struct Run {
    ggml_cgraph* graph;
    ggml_cplan plan;
  };
  std::vector<Run> runs;
  std::vector<std::uint8_t> work;
};

ggml_tensor* weight_tensor(ggml_context* context, const PeerWeights& w) {
  const auto type = static_cast<ggml_type>(w.type);
  return w.experts ? ggml_new_tensor_3d(context, type, w.k, w.n, w.experts)
                   : ggml_new_tensor_2d(context, type, w.k, w.n);
}

ggml_tensor* product_tensor(ggml_context* context, ggml_tensor* weight, ggml_tensor* x, ggml_tensor* ids) {
  return ids ? ggml_mul_mat_id(context, weight, x, ids) : ggml_mul_mat(context, weight, x);
}

#ifdef MLXN_PEER_IK

constexpr std::size_t kAlignment = 64;

bool repack(Side& side, const PeerWeights& w) {
  for (std::uint32_t i = 0; i < w.count; ++i) {
    ggml_tensor* const weight = side.weights[i];
    const std::size_t bytes = ggml_nbytes(weight);
    side.copies.emplace_back(std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment));
    weight->data = side.copies.back().get();
    std::memcpy(weight->data, w.matrices[i], bytes);
    const ggml_type plain = weight->type;
    iqk_repack_tensor(weight);
    if (weight->type == plain) return false;
  }
  return true;
}

ggml_cplan plan_of(const ggml_cgraph* graph, int threads) { return ggml_graph_plan(graph, threads); }

std::string describe() { return "ik_llama.cpp"; }

#else

/// The buffer type that llama.cpp would choose before the plain one; null if there is none.
ggml_backend_buffer_type_t better_buffer_type(const PeerWeights& w) {
  ggml_backend_reg_t registry = ggml_backend_cpu_reg();
  ggml_backend_dev_t device = ggml_backend_reg_dev_get(registry, 0);
  const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
  if (!extra) return nullptr;
  for (ggml_backend_buffer_type_t* type = extra(device); type && *type; ++type) {
    const Context context = make_context(8, 0, 0);
    ggml_tensor* const weight = weight_tensor(context.get(), w);
    ggml_tensor* const x = ggml_new_tensor_3d(context.get(), GGML_TYPE_F32, w.k, w.experts ? 1 : 512, 1);
    ggml_tensor* const ids = w.experts ? ggml_new_tensor_2d(context.get(), GGML_TYPE_I32, 8, 1) : nullptr;
    const Buffer none(ggml_backend_buft_alloc_buffer(*type, 0));
    weight->buffer = none.get();
    if (ggml_backend_dev_supports_op(device, product_tensor(context.get(), weight, x, ids))) return *type;
  }
  return nullptr;
}

bool repack(Side& side, const PeerWeights& w) {
  ggml_backend_buffer_type_t const type = better_buffer_type(w);
  if (!type) return false;
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);  // it prints a line a tensor
  side.buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(side.weight_context.get(), type));
  if (!side.buffer) return false;
  for (std::uint32_t i = 0; i < w.count; ++i)
    ggml_backend_tensor_set(side.weights[i], w.matrices[i], 0, ggml_nbytes(side.weights[i]));
  return true;
}

ggml_cplan plan_of(const ggml_cgraph* graph, int threads) { return ggml_graph_plan(graph, threads, nullptr); }

std::string describe() { return std::string("ggml ") + ggml_version(); }

#endif

void* create(const PeerWeights* w) {
  auto side = std::make_unique<Side>();
  side->n = w->n;
  side->k = w->k;
  side->experts = w->experts;
  side->weight_context = make_context(w->count + 1, 0, 0);
  for (std::uint32_t i = 0; i < w->count; ++i) side->weights.push_back(weight_tensor(side->weight_context.get(), *w));
  if (w->repacked) {
    if (!repack(*side, *w)) return nullptr;
  } else {
    for (std::uint32_t i = 0; i < w->count; ++i) side->weights[i]->data = const_cast<std::uint8_t*>(w->matrices[i]);
  }
  return side.release();
}

int prepare(void* peer, const PeerProducts* p) {
  Side& side = *static_cast<Side*>(peer);
  side.rows = p->rows;
  side.top = p->top;
  const std::size_t values = std::size_t{p->rows} * (side.experts ? p->top : 1) * side.n;
  side.outputs.assign(p->per_run, std::vector<float>(values, std::numeric_limits<float>::quiet_NaN()));
  side.runs.clear();
  const std::uint32_t runs = p->products / p->per_run;
  const std::size_t nodes = std::size_t{3} * p->per_run + 8;  // leaves count too
  side.product_context = make_context(std::size_t{3} * p->products + 8, runs, nodes);
  ggml_context* const context = side.product_context.get();
  if (!context) return 0;
  std::size_t work = 0;
  for (std::uint32_t run = 0; run < runs; ++run) {
    ggml_cgraph* const graph = ggml_new_graph_custom(context, nodes, false);
    for (std::uint32_t slot = 0; slot < p->per_run; ++slot) {
      const std::uint32_t i = run * p->per_run + slot;
      ggml_tensor* x = nullptr;
      ggml_tensor* ids = nullptr;
      if (side.experts) {
        x = ggml_new_tensor_3d(context, GGML_TYPE_F32, side.k, 1, p->rows);
        ids = ggml_new_tensor_2d(context, GGML_TYPE_I32, p->top, p->rows);
        ids->data = const_cast<std::int32_t*>(p->ids[i]);
      } else {
        x = ggml_new_tensor_2d(context, GGML_TYPE_F32, side.k, p->rows);
      }
      x->data = const_cast<float*>(p->x[slot]);
      ggml_tensor* const product = product_tensor(context, side.weights[i % side.weights.size()], x, ids);
      product->data = side.outputs[slot].data();
      ggml_build_forward_expand(graph, product);
    }
    side.runs.push_back({graph, plan_of(graph, p->threads)});
    work = std::max(work, side.runs.back().plan.work_size);
  }
  side.work.resize(work);
  for (Side::Run& run : side.runs) run.plan.work_data = side.work.data();
  return 1;
}

int run(void* peer, std::uint32_t index) {
  Side::Run& r = static_cast<Side*>(peer)->runs[index];
  return ggml_graph_compute(r.graph, &r.plan) == GGML_STATUS_SUCCESS;
}

const float* output(void* peer, std::uint32_t slot) { return static_cast<Side*>(peer)->outputs[slot].data(); }

void destroy(void* peer) { delete static_cast<Side*>(peer); }

}  // namespace

extern "C" __attribute__((visibility("default"))) const Peer* mlxn_peer() {
  static const std::string description = describe();
  static const Peer peer{description.c_str(), create, prepare, run, output, destroy};
  return &peer;
}
