#include "sides.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace bench {
namespace {

using namespace mlx_native;

class OurSide : public Side {
 public:
  OurSide(const Weights& weights, Precision precision) : shape_(weights.shape()), precision_(precision) {
    for (std::size_t i = 0; i < weights.count(); ++i) sources_.push_back(weights.matrix(i));
    owner_ = weights.owner();
  }

  void prepare(const Products& p) override {
    if (!device_ || device_->parallelism() != static_cast<std::uint32_t>(p.threads)) open(p.threads);
    graphs_.clear();
    inputs_.clear();
    outputs_.clear();
    ids_.clear();
    const std::size_t values = std::size_t{p.rows} * shape_.top * shape_.n;
    for (std::uint32_t slot = 0; slot < p.per_run; ++slot) {
      inputs_.push_back(buffer<float>(DType::F32, p.input(slot).size()));
      std::ranges::copy(p.input(slot), need(inputs_.back().as_mut_slice<float>()).begin());
      outputs_.push_back(buffer<float>(DType::F32, values));
      std::ranges::fill(need(outputs_.back().as_mut_slice<float>()), std::numeric_limits<float>::quiet_NaN());
    }
    for (const auto& ids : p.ids) {
      ids_.push_back(buffer<std::uint32_t>(DType::U32, ids.size()));
      std::ranges::copy(ids, need(ids_.back().as_mut_slice<std::uint32_t>()).begin());
    }
    for (std::uint32_t run = 0; run < p.runs; ++run) {
      GraphSession session = need(GraphExecutor(*device_).begin());
      for (std::uint32_t slot = 0; slot < p.per_run; ++slot) record(session.encoder(), p, run * p.per_run + slot, slot);
      kernel_ = session.encoder().dispatched_kernels().front();
      graphs_.push_back(need(session.record()));
      need(graphs_.back().replay());  // the first run of a graph gets its scratch from the system
    }
  }
  void run(std::uint32_t index) override { need(graphs_[index].replay()); }
  std::span<const float> output(std::uint32_t slot) const override { return need(outputs_[slot].as_slice<float>()); }
  std::string kernel() const override { return kernel_; }

 private:
  void open(int threads) {
    graphs_.clear();
    weights_.clear();
    device_ = need(MlxDevice::create(Backend::Cpu, {.threads = static_cast<std::uint32_t>(threads)}));
    for (const auto& matrix : sources_)
      weights_.push_back(need(device_->import_host(std::as_bytes(matrix), owner_, DType::U8, {matrix.size()})));
  }
  template <class T>
  MlxBuffer buffer(DType dtype, std::size_t count) const {
    return need(device_->alloc_buffer(count * sizeof(T), dtype, {count}));
  }
  void record(CommandEncoder& encoder, const Products& p, std::uint32_t i, std::uint32_t slot) {
    const MlxBuffer& weight = weights_[i % weights_.size()];
    if (!shape_.experts)
      return need(quantized_matmul_ggml(
          encoder, registry_, *device_, inputs_[slot], weight, outputs_[slot],
          {.m = p.rows, .n = shape_.n, .k = shape_.k, .ggml_type = shape_.type, .precision = precision_}));
    need(quantized_matmul_id_ggml(encoder, registry_, *device_, inputs_[slot], weight, ids_[i], outputs_[slot],
                                  {.n_tokens = p.rows,
                                   .top_k = shape_.top,
                                   .n = shape_.n,
                                   .k = shape_.k,
                                   .n_experts = shape_.experts,
                                   .expert_stride = shape_.row_bytes() * shape_.n,
                                   .ggml_type = shape_.type,
                                   .precision = precision_}));
  }

  Shape shape_;
  Precision precision_;
  std::vector<std::span<const std::uint8_t>> sources_;
  std::shared_ptr<const void> owner_;
  std::optional<MlxDevice> device_;
  KernelRegistry registry_;
  std::vector<MlxBuffer> weights_, inputs_, ids_, outputs_;
  std::vector<ComputeGraph> graphs_;
  std::string kernel_;
};

class PeerSide : public Side {
 public:
  PeerSide(const Peer& peer, void* state, const Shape& shape) : peer_(peer), state_(state), shape_(shape) {}
  ~PeerSide() override { peer_.destroy(state_); }
  PeerSide(const PeerSide&) = delete;
  PeerSide& operator=(const PeerSide&) = delete;

  void prepare(const Products& p) override {
    std::vector<const float*> x;
    std::vector<const std::int32_t*> ids;
    for (std::uint32_t slot = 0; slot < p.per_run; ++slot) x.push_back(p.input(slot).data());
    for (const auto& chosen : p.ids) ids.push_back(chosen.data());
    const PeerProducts products{p.rows, shape_.top, p.count(), p.per_run, x.data(), ids.data(), p.threads};
    if (!peer_.prepare(state_, &products)) throw std::runtime_error(fmt::format("{} refuses", peer_.description));
    outputs_ = std::size_t{p.rows} * shape_.top * shape_.n;
  }
  void run(std::uint32_t index) override {
    if (!peer_.run(state_, index)) throw std::runtime_error(fmt::format("{} failed", peer_.description));
  }
  std::span<const float> output(std::uint32_t slot) const override { return {peer_.output(state_, slot), outputs_}; }

 private:
  const Peer& peer_;
  void* state_;
  Shape shape_;
  std::size_t outputs_ = 0;
};

}  // namespace

std::unique_ptr<Side> make_our_side(const Weights& weights, Precision precision) {
  return std::make_unique<OurSide>(weights, precision);
}

PeerLibrary::PeerLibrary(const std::string& path) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (!library) throw std::runtime_error(dlerror());
  const auto entry = reinterpret_cast<PeerEntry>(dlsym(library, "mlxn_peer"));
  if (!entry) throw std::runtime_error(fmt::format("{} has no mlxn_peer", path));
  peer_ = entry();
}

std::string PeerLibrary::description() const { return peer_->description; }

std::unique_ptr<Side> PeerLibrary::make_side(const Weights& weights, bool repacked) const {
  const Shape& shape = weights.shape();
  const PeerWeights w{
      static_cast<std::uint32_t>(shape.type),      shape.n, shape.k, shape.experts, weights.pointers().data(),
      static_cast<std::uint32_t>(weights.count()), repacked};
  void* const state = peer_->create(&w);
  return state ? std::make_unique<PeerSide>(*peer_, state, shape) : nullptr;
}

}  // namespace bench
