// What `mlxn bench` measures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "session.h"

namespace mlxn {

struct BenchOptions {
  bool json = false;
  bool limits = false;
  std::uint32_t repetitions = 5;
  std::vector<std::uint32_t> threads = {0};
  DeviceChoice device;  ///< its threads are not used

  ModelChoice model;
  std::vector<std::uint32_t> prompts = {512}, generations = {128};

  std::string op;
  std::string type = "q4_k";
  std::uint32_t n = 4096, k = 4096;
  std::vector<std::uint32_t> m = {1, 8, 512};
  std::uint32_t experts = 128, top_k = 8;
};

void bench_model(const BenchOptions& options);
void bench_op(const BenchOptions& options);
void bench_limits(const BenchOptions& options);

struct Statistics {
  double mean, deviation, median;
};
/// Of at least one sample; the deviation is that of a sample (n - 1).
Statistics statistics(std::vector<double> samples);

}  // namespace mlxn
