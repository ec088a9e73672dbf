// What `mlxn bench` measures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mlx_native/models/model.h"
#include "session.h"

namespace mlxn {

struct BenchOptions {
  bool json = false;
  bool limits = false, profile = false;
  std::uint32_t repetitions = 5;
  std::vector<std::uint32_t> threads = {0};
  DeviceChoice device;  ///< its threads are not used

  ModelChoice model;
  std::vector<std::uint32_t> prompts = {512}, generations = {128}, depths = {0};

  std::string op;
  std::string type = "q4_k";
  std::uint32_t n = 4096, k = 4096;
  std::vector<std::uint32_t> m = {1, 8, 512};
  std::uint32_t experts = 128, top_k = 8;
};

void bench_model(const BenchOptions& options);
void bench_profile(const BenchOptions& options);
void bench_op(const BenchOptions& options);
void bench_limits(const BenchOptions& options);

/// A prompt or a generation, as llama-bench names them: one of the two is 0. The sequence has `depth` tokens before.
struct Test {
  std::uint32_t prompt, generate, depth;
  std::string name() const;
  std::uint32_t tokens() const { return prompt + generate; }
};
/// At least one; throws Misuse where there is none.
std::vector<Test> tests_of(const BenchOptions& options);
/// The model that they need: its context is long enough.
ModelChoice model_for(const BenchOptions& options, const std::vector<Test>& tests);
/// Seconds that it takes. What the tokens are, those before it too, does not matter to the time.
double run_test(mlx_native::Model& model, const Test& test);

struct Statistics {
  double mean, deviation, median;
};
/// Of at least one sample; the deviation is that of a sample (n - 1).
Statistics statistics(std::vector<double> samples);

}  // namespace mlxn
