// Weights of a model as they lie in its file, each checked against the shape that the model needs.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "mlx_native/buffer.h"
#include "mlx_native/ggml_type.h"
#include "mlx_native/gguf.h"

namespace mlx_native {

/// y[n] = W[n, k] x[k] + bias[n]
struct Linear {
  MlxBuffer weight;
  GgmlType type;
  std::uint32_t n;
  std::uint32_t k;
  std::optional<MlxBuffer> bias;
};

/// One W[n, k] for every expert, one after the other.
struct ExpertLinear {
  MlxBuffer weight;
  GgmlType type;
  std::uint32_t n_experts;
  std::uint32_t n;
  std::uint32_t k;
  std::uint64_t expert_stride;  ///< bytes
};

/// Loads tensors by name. GgufParseError where one is missing or of another shape, UnsupportedDtype where its type
/// cannot be used; both name it.
class WeightLoader {
 public:
  WeightLoader(const GgufFile& file, const MlxDevice& device) : file_(file), device_(device) {}

  bool has(std::string_view name) const { return file_.tensor_info(name) != nullptr; }

  /// NAME.weight [n, k] and, if there is one, NAME.bias [n].
  Result<Linear> linear(const std::string& name, std::uint64_t n, std::uint64_t k);
  /// NAME.weight [n_experts, n, k].
  Result<ExpertLinear> experts(const std::string& name, std::uint64_t n_experts, std::uint64_t n, std::uint64_t k);
  /// A vector [n], as F32 whatever its type.
  Result<MlxBuffer> vector(const std::string& name, std::uint64_t n);

  /// Bytes of all that was loaded.
  std::uint64_t bytes() const { return bytes_; }
  /// A tensor of the file that was not loaded, so that part of the model would be ignored; null: there is none.
  const TensorInfo* unused() const;

 private:
  Result<const TensorInfo*> find(const std::string& name, const Shape& shape);
  Result<MlxBuffer> matrix(const TensorInfo& info);

  const GgufFile& file_;
  const MlxDevice& device_;
  std::set<std::string, std::less<>> used_;
  std::uint64_t bytes_ = 0;
};

}  // namespace mlx_native
