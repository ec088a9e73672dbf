// A decoder-only transformer in plain float64, written from the definition: whole sequence at once, no cache.
#pragma once

#include <cmath>
#include <numeric>

#include "support/synthetic_model.h"

namespace mlx_native::test {

struct ReferenceStyle {
  bool adjacent_pairs;
  bool head_norms;
  bool experts;
  double freq_scale = 1.0;
  std::size_t rope_dim = SyntheticModel::kHeadDim;
};

class ReferenceModel {
 public:
  using Row = std::vector<double>;
  using Rows = std::vector<Row>;

  ReferenceModel(const SyntheticModel& model, ReferenceStyle style) : model_(model), style_(style) {}

  /// Logits of every token.
  Rows logits(const std::vector<std::uint32_t>& tokens) const {
    Rows hidden;
    const Row table = weights("token_embd.weight");
    for (const std::uint32_t token : tokens)
      hidden.emplace_back(table.begin() + token * M::kDim, table.begin() + (token + 1) * M::kDim);
    for (std::uint32_t layer = 0; layer < M::kLayers; ++layer) {
      const std::string blk = "blk." + std::to_string(layer) + ".";
      add(hidden, attention(blk, hidden));
      add(hidden, style_.experts ? mixture(blk, hidden) : swiglu(blk, hidden));
    }
    Rows result;
    const std::string output = model_.find("output.weight") ? "output" : "token_embd";
    for (const Row& row : hidden) result.push_back(linear(output, norm(row, "output_norm.weight")));
    return result;
  }

 private:
  using M = SyntheticModel;

  /// As the file's blocks decode.
  Row weights(const std::string& name) const {
    const SyntheticTensor* tensor = model_.find(name);
    if (!tensor) throw std::runtime_error("no tensor " + name);
    const auto decoded = dequantize(tensor->type, quantize(tensor->type, tensor->values).value()).value();
    return {decoded.begin(), decoded.end()};
  }

  static Row multiply(std::span<const double> matrix, const Row& x) {
    Row y(matrix.size() / x.size());
    for (std::size_t i = 0; i < y.size(); ++i)
      y[i] = std::inner_product(x.begin(), x.end(), matrix.begin() + static_cast<std::ptrdiff_t>(i * x.size()), 0.0);
    return y;
  }

  Row linear(const std::string& name, const Row& x) const {
    Row y = multiply(weights(name + ".weight"), x);
    if (model_.find(name + ".bias")) {
      const Row bias = weights(name + ".bias");
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += bias[i];
    }
    return y;
  }

  Row norm(const Row& x, const std::string& name) const {
    const Row weight = weights(name);
    Row y = x;
    for (std::size_t begin = 0; begin < x.size(); begin += weight.size()) {
      double squares = 0;
      for (std::size_t i = 0; i < weight.size(); ++i) squares += x[begin + i] * x[begin + i];
      const double scale = 1 / std::sqrt(squares / static_cast<double>(weight.size()) + static_cast<double>(M::kEps));
      for (std::size_t i = 0; i < weight.size(); ++i) y[begin + i] = x[begin + i] * scale * weight[i];
    }
    return y;
  }

  void rotate(Row& heads, std::size_t position) const {
    const Row factors = model_.find("rope_freqs.weight") ? weights("rope_freqs.weight") : Row(style_.rope_dim / 2, 1.0);
    for (std::size_t head = 0; head < heads.size(); head += M::kHeadDim)
      for (std::size_t i = 0; i < style_.rope_dim / 2; ++i) {
        const double angle = static_cast<double>(position) * style_.freq_scale / factors[i] *
                             std::pow(static_cast<double>(M::kTheta),
                                      -2.0 * static_cast<double>(i) / static_cast<double>(style_.rope_dim));
        double& a = heads[head + (style_.adjacent_pairs ? 2 * i : i)];
        double& b = heads[head + (style_.adjacent_pairs ? 2 * i + 1 : i + style_.rope_dim / 2)];
        const double x = a, y = b;
        a = x * std::cos(angle) - y * std::sin(angle);
        b = x * std::sin(angle) + y * std::cos(angle);
      }
  }

  static Row softmax(Row scores) {
    const double largest = *std::ranges::max_element(scores);
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    for (double& score : scores) score /= sum;
    return scores;
  }

  Rows attention(const std::string& blk, const Rows& hidden) const {
    Rows keys, values, outputs;
    for (std::size_t t = 0; t < hidden.size(); ++t) {
      const Row x = norm(hidden[t], blk + "attn_norm.weight");
      Row query = linear(blk + "attn_q", x), key = linear(blk + "attn_k", x);
      if (style_.head_norms) {
        query = norm(query, blk + "attn_q_norm.weight");
        key = norm(key, blk + "attn_k_norm.weight");
      }
      rotate(query, t);
      rotate(key, t);
      keys.push_back(key);
      values.push_back(linear(blk + "attn_v", x));
      Row attended(query.size());
      for (std::size_t head = 0; head < M::kHeads; ++head) {
        const std::size_t q = head * M::kHeadDim, kv = head / (M::kHeads / M::kKvHeads) * M::kHeadDim;
        Row scores(t + 1);
        for (std::size_t s = 0; s <= t; ++s)
          for (std::size_t i = 0; i < M::kHeadDim; ++i)
            scores[s] += query[q + i] * keys[s][kv + i] / std::sqrt(double{M::kHeadDim});
        const Row p = softmax(scores);
        for (std::size_t s = 0; s <= t; ++s)
          for (std::size_t i = 0; i < M::kHeadDim; ++i) attended[q + i] += p[s] * values[s][kv + i];
      }
      outputs.push_back(linear(blk + "attn_output", attended));
    }
    return outputs;
  }

  static Row silu_times(Row gate, const Row& up) {
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    return gate;
  }

  Rows swiglu(const std::string& blk, const Rows& hidden) const {
    Rows outputs;
    for (const Row& row : hidden) {
      const Row x = norm(row, blk + "ffn_norm.weight");
      outputs.push_back(linear(blk + "ffn_down", silu_times(linear(blk + "ffn_gate", x), linear(blk + "ffn_up", x))));
    }
    return outputs;
  }

  Rows mixture(const std::string& blk, const Rows& hidden) const {
    const auto expert = [&](const char* part, std::size_t e) {
      const Row all = weights(blk + part);
      const std::size_t n = all.size() / M::kExperts;
      return Row(all.begin() + static_cast<std::ptrdiff_t>(e * n),
                 all.begin() + static_cast<std::ptrdiff_t>((e + 1) * n));
    };
    Rows outputs;
    for (const Row& row : hidden) {
      const Row x = norm(row, blk + "ffn_norm.weight"), p = softmax(linear(blk + "ffn_gate_inp", x));
      std::vector<std::size_t> order(p.size());
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::ranges::sort(order, {}, [&](std::size_t e) { return std::pair(-p[e], e); });
      order.resize(M::kExpertsUsed);
      double sum = 0;
      for (const std::size_t e : order) sum += p[e];
      Row y(row.size());
      for (const std::size_t e : order) {
        const Row out = multiply(
            expert("ffn_down_exps.weight", e),
            silu_times(multiply(expert("ffn_gate_exps.weight", e), x), multiply(expert("ffn_up_exps.weight", e), x)));
        for (std::size_t i = 0; i < y.size(); ++i) y[i] += p[e] / sum * out[i];
      }
      outputs.push_back(y);
    }
    return outputs;
  }

  static void add(Rows& hidden, const Rows& branch) {
    for (std::size_t t = 0; t < hidden.size(); ++t)
      for (std::size_t i = 0; i < hidden[t].size(); ++i) hidden[t][i] += branch[t][i];
  }

  const SyntheticModel& model_;
  ReferenceStyle style_;
};

}  // namespace mlx_native::test
