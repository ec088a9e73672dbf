// Times the CUDA kernels of mat_mat and mat_mat_id one by one: graphs of many products whose weights rotate over more
// memory than the L2 cache holds, medians, the error of a sample against float64, beside a plain read of the same
// weights and, where libcublas is found, its f16 product.
//
//   cuda_mat_mat [--types q4_K,q8_0] [--shapes 4096x4096] [--m 32,512] [--tokens 32,512] [--kernels wgmma]
//   [--scratches 4] [--no-cublas]
//
// --scratches: memory for packed x and sums is that many buffers in turn, as in an encoder; what they hold competes
// with weights for L2.
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "args/matmul.h"
#include "cuda/launch.h"
#include "formats/list.h"
#include "mlx_native/mlx_native.h"
#include "runtime/kernel.h"

namespace {

using namespace mlx_native;
using detail::Kernel;
using detail::Op;

void must(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(status));
  std::exit(1);
}

template <class T>
T* device_memory(std::size_t n) {
  void* p = nullptr;
  must(cudaMalloc(&p, n * sizeof(T) + 256), "allocation");
  return static_cast<T*>(p);
}

__host__ __device__ std::uint64_t mixed(std::uint64_t i) {
  std::uint64_t h = (i + 1) * 0x9e3779b97f4a7c15ull;
  h = (h ^ h >> 31) * 0xbf58476d1ce4e5b9ull;
  return h ^ h >> 29;
}
__host__ __device__ float activation(std::uint64_t i) {
  const std::uint64_t h = mixed(i);
  return static_cast<float>(static_cast<int>(h & 0xffff) + static_cast<int>(h >> 16 & 0xffff) - 65535) / 26755.0f;
}
__global__ void fill(float* x, std::uint64_t n) {
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    x[i] = activation(i);
}
__global__ void __launch_bounds__(512) read_all(const uint4* p, std::uint64_t n, std::uint32_t* sink) {
  std::uint32_t sum = 0;
  const std::uint64_t step = std::uint64_t{gridDim.x} * 512;
  std::uint64_t i = std::uint64_t{blockIdx.x} * 512 + threadIdx.x;
  for (; i + 3 * step < n; i += 4 * step) {
    const uint4 a = p[i], b = p[i + step], c = p[i + 2 * step], d = p[i + 3 * step];
    sum ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
  }
  for (; i < n; i += step) sum ^= p[i].x ^ p[i].y ^ p[i].z ^ p[i].w;
  if (sum == 0x12345678) *sink = sum;
}

cudaStream_t stream;
cuda::Machine machine;

/// Median microseconds of one of `count` things that record(i) puts on the stream.
template <class Record>
double time_of(int count, Record&& record) {
  record(0);
  must(cudaStreamSynchronize(stream), "warm-up");
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < count; ++i) record(i);
  must(cudaStreamEndCapture(stream, &graph), "end of capture");
  must(cudaGraphInstantiate(&exec, graph, 0), "instantiation");
  cudaEvent_t start, stop;
  cudaEventCreate(&start), cudaEventCreate(&stop);
  std::vector<float> times;
  for (int i = 0; i < 6; ++i) {
    cudaEventRecord(start, stream);
    must(cudaGraphLaunch(exec, stream), "launch");
    cudaEventRecord(stop, stream);
    must(cudaStreamSynchronize(stream), "run");
    float ms;
    cudaEventElapsedTime(&ms, start, stop);
    if (i > 0) times.push_back(ms * 1000 / count);
  }
  cudaGraphExecDestroy(exec), cudaGraphDestroy(graph);
  std::ranges::sort(times);
  return times[times.size() / 2];
}

/// The f16 product of libcublas, loaded if it is there.
struct Cublas {
  using Create = int (*)(void**);
  using SetStream = int (*)(void*, cudaStream_t);
  using SetWorkspace = int (*)(void*, void*, std::size_t);
  using Gemm = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
                       const void*, void*, int, int, int, int);
  void* handle = nullptr;
  Gemm gemm = nullptr;
  explicit Cublas(bool wanted) {
    if (!wanted) return;
    void* const library = dlopen("libcublas.so.13", RTLD_NOW);
    if (!library) {
      std::printf("no cuBLAS: %s\n", dlerror());
      return;
    }
    reinterpret_cast<Create>(dlsym(library, "cublasCreate_v2"))(&handle);
    reinterpret_cast<SetStream>(dlsym(library, "cublasSetStream_v2"))(handle, stream);
    reinterpret_cast<SetWorkspace>(dlsym(library, "cublasSetWorkspace_v2"))(handle, device_memory<char>(64 << 20),
                                                                            64 << 20);
    gemm = reinterpret_cast<Gemm>(dlsym(library, "cublasGemmEx"));
  }
  // y[m][n] = x[m][k] w[n][k]^T, f16, sums in f32
  void run(const void* w, const void* x, void* y, int m, int n, int k) const {
    const float one = 1, zero = 0;
    const int status = gemm(handle, 1, 0, n, m, k, &one, w, 2, k, x, 2, k, &zero, y, 2, n, 68, -1);
    if (status) std::printf("cublasGemmEx: %d\n", status);
  }
};

struct Options {
  std::vector<std::string> types{"q4_0", "q8_0", "q4_K", "q5_K", "q6_K"},
      shapes{"4096x4096", "14336x4096", "4096x14336"}, m{"32", "64", "512", "2048", "4096"},
      tokens{"32", "128", "512", "2048"}, kernels{"cuda."};
  std::uint32_t scratches = 4;
  bool cublas = true;
};
std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  if (text.empty()) parts.clear();
  return parts;
}

/// Scratch memory of a problem, in turn.
class Scratches {
 public:
  template <class Args>
  Scratches(const Kernel& kernel, const Args& args, std::uint32_t count) : count_(count) {
    bytes_ = ((kernel.scratch_bytes ? kernel.scratch_bytes(&args) : 1) + 1023) / 1024 * 1024;
    memory_ = device_memory<std::uint8_t>(bytes_ * count);
  }
  ~Scratches() { cudaFree(memory_); }
  std::uint8_t* at(int i) const { return memory_ + static_cast<std::uint32_t>(i) % count_ * bytes_; }

 private:
  std::uint32_t count_;
  std::size_t bytes_;
  std::uint8_t* memory_;
};

constexpr std::size_t kRotation = std::size_t{200} << 20;
constexpr int kPatternRows = 61;

struct Weights {
  std::vector<float> values;  // of the pattern's rows
  std::uint8_t* memory = nullptr;
  std::size_t row_bytes, rows, k;
  int copies;

  Weights(GgmlType type, std::size_t n, std::size_t k_values) : rows(n), k(k_values) {
    std::vector<float> random(kPatternRows * k);
    for (std::size_t i = 0; i < random.size(); ++i) random[i] = 0.02f * activation(i + (1ull << 40));
    const auto blocks = quantize(type, random).value();
    values = dequantize(type, blocks).value();
    row_bytes = blocks.size() / kPatternRows;
    const std::size_t bytes = rows * row_bytes;
    copies = static_cast<int>(std::max<std::size_t>(2, kRotation / bytes));
    std::vector<std::uint8_t> all(bytes);
    for (std::size_t at = 0; at < bytes; at += blocks.size())
      std::memcpy(&all[at], blocks.data(), std::min(blocks.size(), bytes - at));
    memory = device_memory<std::uint8_t>(bytes * copies);
    for (int i = 0; i < copies; ++i) cudaMemcpy(memory + i * bytes, all.data(), bytes, cudaMemcpyHostToDevice);
  }
  ~Weights() { cudaFree(memory); }
  std::size_t bytes() const { return rows * row_bytes; }
  const std::uint8_t* copy(int i) const { return memory + i % copies * bytes(); }
};

/// Relative L2 error of sampled results; `expert` gives the first weight row of an output row, negative: none.
template <class Expert>
double error_of(const Weights& w, const float* y, std::size_t outputs, std::size_t n, std::size_t top_k,
                Expert&& expert) {
  double difference = 0, norm = 0;
  std::vector<float> row(n);
  for (std::size_t s = 0; s < 24; ++s) {
    const std::size_t i = s < 3   ? std::min(outputs - 1, s)
                          : s < 6 ? outputs - 1 - std::min(outputs - 1, s - 3)
                                  : s * 7919 % outputs;
    cudaMemcpy(row.data(), y + i * n, n * 4, cudaMemcpyDeviceToHost);
    for (std::size_t c = 0; c < 24; ++c) {
      const std::size_t j = c < 4 ? c : c < 8 ? n - c + 3 : c * 4391 % n;
      const std::size_t pattern = (expert(i) + j) % kPatternRows;
      double exact = 0;
      for (std::size_t v = 0; v < w.k; ++v)
        exact += double{w.values[pattern * w.k + v]} * activation(i / top_k * w.k + v);
      difference += (row[j] - exact) * (row[j] - exact);
      norm += exact * exact;
    }
  }
  return std::sqrt(difference / norm);
}

std::vector<const Kernel*> kernels_of(Op op, GgmlType type, const Options& options) {
  std::vector<const Kernel*> found;
  for (const auto& kernel : detail::builtin_kernels())
    if (kernel->backend == Backend::Cuda && kernel->op == op && kernel->format == type)
      for (const std::string& part : options.kernels)
        if (kernel->name.find(part) != std::string::npos) {
          found.push_back(kernel.get());
          break;
        }
  return found;
}

/// As command `i` of a queue: all but the first may overlap with what comes before.
template <class Args>
void launch(const Kernel& kernel, const Args& args, int i) {
  cuda::Launch on{.stream = stream,
                  .machine = machine,
                  .is_new = [](const void*) { return false; },
                  .may_overlap = machine.hopper && i > 0};
  kernel.entry(&args, &on);
  must(on.status, kernel.name.c_str());
}

void dense(const Options& options, GgmlType type, std::size_t n, std::size_t k) {
  const Weights w(type, n, k);
  std::uint32_t* const sink = device_memory<std::uint32_t>(1);
  const int reads = std::max(4, w.copies);
  const double floor = time_of(reads, [&](int i) {
    read_all<<<132 * 4, 512, 0, stream>>>(reinterpret_cast<const uint4*>(w.copy(i)), w.bytes() / 16, sink);
  });
  const std::string name{ggml_type_name(type)};
  std::printf("%s %zux%zu floor %.1f us\n", name.c_str(), n, k, floor);
  for (const std::string& text : options.m) {
    const auto m = static_cast<std::uint32_t>(std::stoul(text));
    float* const x = device_memory<float>(m * k);
    float* const y = device_memory<float>(m * n);
    fill<<<1024, 256, 0, stream>>>(x, m * k);
    const double flop = 2.0 * m * n * k;
    const int count = std::clamp(static_cast<int>(3e9 * 700 / flop), 3, std::max(4, std::min(w.copies, 40)));
    for (const Kernel* kernel : kernels_of(Op::MatMat, type, options)) {
      MatmulArgs args{
          w.copy(0), x, y, nullptr, w.row_bytes, m, static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(k)};
      if (kernel->supports && !kernel->supports(&args)) continue;
      const Scratches scratches(*kernel, args, options.scratches);
      args.scratch = scratches.at(0);
      cudaMemset(y, 0xff, m * n * 4);
      launch(*kernel, args, 0);
      must(cudaStreamSynchronize(stream), kernel->name.c_str());
      const double error = error_of(w, y, m, n, 1, [](std::size_t) { return 0; });
      const double time = time_of(count, [&](int i) {
        args.weight = w.copy(i);
        args.scratch = scratches.at(i);
        launch(*kernel, args, i);
      });
      std::printf("  m %5u %-28s %8.1f us %6.1f TFLOP/s %5.2f floor  E %.1e\n", m, kernel->name.c_str(), time,
                  flop / time * 1e-6, time / floor, error);
    }
    std::fflush(stdout);
    cudaFree(x), cudaFree(y);
  }
  cudaFree(sink);
}

void cublas_dense(const Options& options, const Cublas& cublas, std::size_t n, std::size_t k) {
  const int copies = static_cast<int>(std::max<std::size_t>(2, kRotation / (2 * n * k)));
  auto* const w = device_memory<__half>(n * k * copies);
  std::vector<__half> random(1 << 20);
  for (std::size_t i = 0; i < random.size(); ++i) random[i] = __float2half(activation(i) * 0.02f);
  for (std::size_t at = 0; at < n * k * copies; at += random.size())
    cudaMemcpy(w + at, random.data(), std::min(random.size(), n * k * copies - at) * 2, cudaMemcpyHostToDevice);
  for (const std::string& text : options.m) {
    const auto m = static_cast<int>(std::stoul(text));
    auto* const x = device_memory<__half>(m * k);
    auto* const y = device_memory<__half>(m * n);
    for (std::size_t at = 0; at < m * k; at += random.size())
      cudaMemcpy(x + at, w, std::min(random.size(), m * k - at) * 2, cudaMemcpyDeviceToDevice);
    const double flop = 2.0 * m * n * k;
    const int count = std::clamp(static_cast<int>(3e9 * 700 / flop), 3, 10);
    const double time = time_of(
        count, [&](int i) { cublas.run(w + i % copies * n * k, x, y, m, static_cast<int>(n), static_cast<int>(k)); });
    std::printf("cuBLAS f16 %zux%zu m %5d %8.1f us %6.1f TFLOP/s\n", n, k, m, time, flop / time * 1e-6);
    cudaFree(x), cudaFree(y);
  }
  cudaFree(w);
}

void routed(const Options& options, GgmlType type) {
  constexpr std::uint32_t kExperts = 128, kTop = 8, n = 768, k = 2048;
  const Weights w(type, std::size_t{kExperts} * n, k);
  for (const std::string& text : options.tokens) {
    const auto tokens = static_cast<std::uint32_t>(std::stoul(text));
    std::vector<std::uint32_t> ids;
    for (std::uint32_t t = 0; t < tokens; ++t) {
      std::vector<std::uint32_t> all(kExperts);
      std::iota(all.begin(), all.end(), 0u);
      for (std::uint32_t i = 0; i < kTop; ++i) {
        std::swap(all[i], all[i + mixed(t * kTop + i) % (kExperts - i)]);
        ids.push_back(all[i]);
      }
    }
    const std::size_t distinct = std::set<std::uint32_t>(ids.begin(), ids.end()).size();
    std::uint32_t* const sink = device_memory<std::uint32_t>(1);
    const double floor = time_of(std::max(4, w.copies), [&](int i) {
      read_all<<<132 * 4, 512, 0, stream>>>(reinterpret_cast<const uint4*>(w.copy(i)), distinct * n * w.row_bytes / 16,
                                            sink);
    });
    float* const x = device_memory<float>(tokens * k);
    float* const y = device_memory<float>(ids.size() * n);
    auto* const device_ids = device_memory<std::uint32_t>(ids.size());
    cudaMemcpy(device_ids, ids.data(), ids.size() * 4, cudaMemcpyHostToDevice);
    fill<<<1024, 256, 0, stream>>>(x, std::uint64_t{tokens} * k);
    const double flop = 2.0 * static_cast<double>(ids.size()) * n * k;
    std::printf("%s experts, %u tokens, %zu distinct, floor %.1f us\n", std::string(ggml_type_name(type)).c_str(),
                tokens, distinct, floor);
    for (const Op op : {Op::MatMatId, Op::MatVecId}) {
      for (const Kernel* kernel : kernels_of(op, type, options)) {
        MatmulIdArgs args{w.copy(0),       x,      device_ids, y, nullptr, w.row_bytes,
                          n * w.row_bytes, tokens, kTop,       n, k,       kExperts};
        if (kernel->supports && !kernel->supports(&args)) continue;
        const Scratches scratches(*kernel, args, options.scratches);
        args.scratch = scratches.at(0);
        cudaMemset(y, 0xff, ids.size() * n * 4);
        launch(*kernel, args, 0);
        must(cudaStreamSynchronize(stream), kernel->name.c_str());
        const double error = error_of(w, y, ids.size(), n, kTop, [&](std::size_t i) { return ids[i] * n; });
        const double time = time_of(std::max(10, w.copies), [&](int i) {
          args.weight = w.copy(i);
          args.scratch = scratches.at(i);
          launch(*kernel, args, i);
        });
        std::printf("  tokens %5u %-28s %8.1f us %6.1f TFLOP/s %5.2f floor  E %.1e\n", tokens, kernel->name.c_str(),
                    time, flop / time * 1e-6, time / floor, error);
      }
    }
    std::fflush(stdout);
    cudaFree(sink), cudaFree(x), cudaFree(y), cudaFree(device_ids);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto list = [&] { return split(i + 1 < argc ? argv[++i] : ""); };
    if (name == "--types")
      options.types = list();
    else if (name == "--shapes")
      options.shapes = list();
    else if (name == "--m")
      options.m = list();
    else if (name == "--tokens")
      options.tokens = list();
    else if (name == "--kernels")
      options.kernels = list();
    else if (name == "--scratches")
      options.scratches = static_cast<std::uint32_t>(std::stoul(list()[0]));
    else if (name == "--no-cublas")
      options.cublas = false;
    else
      return std::printf("unknown option %s\n", argv[i]), 2;
  }
  cudaDeviceProp properties;
  must(cudaGetDeviceProperties(&properties, 0), "properties");
  machine = {static_cast<std::uint32_t>(properties.multiProcessorCount), properties.sharedMemPerBlockOptin,
             properties.major == 9};
  must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  const Cublas cublas(options.cublas);
  for (const std::string& shape : options.shapes) {
    const std::size_t n = std::stoul(shape), k = std::stoul(shape.substr(shape.find('x') + 1));
    if (options.cublas && cublas.gemm) cublas_dense(options, cublas, n, k);
    for (const std::string& type : options.types) dense(options, *ggml_type_from_name(type), n, k);
  }
  if (!options.tokens.empty())
    for (const std::string& type : options.types) routed(options, *ggml_type_from_name(type));
  return 0;
}
