// The vocabulary of an ISA as functions of arrays, for tests: a test is compiled without the ISA's instructions.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace mlx_native::cpu {

struct SimdProbe {
  const char* isa;
  int lanes;
  void (*exp)(const float* in, float* out, int n);
  void (*tanh)(const float* in, float* out, int n);
  void (*erf)(const float* in, float* out, int n);
  void (*round_trip)(const float* in, float* out, int n);  ///< load and store, the last vector in part
  void (*half_to_float)(const std::uint16_t* in, float* out, int n);
  void (*float_to_half)(const float* in, std::uint16_t* out, int n);
  void (*bfloat_to_float)(const std::uint16_t* in, float* out, int lanes);
  float (*sum)(const float* lanes);
  float (*max_lane)(const float* lanes);
  void (*to_run)(const std::uint8_t* codes, float* out);  ///< 16
  void (*spread)(std::uint32_t bits16, std::uint8_t* out);
  void (*lookup)(const std::uint8_t* table16, const std::uint8_t* indices16, std::uint8_t* out);
  void (*shift)(const std::uint8_t* codes, int right, std::uint8_t* out);
  void (*signed_bytes)(std::uint32_t low, std::uint32_t high, float* out);
};

#define MLXN_ISA_PROBE(isa) \
  namespace isa {           \
  SimdProbe probe();        \
  }
MLXN_ISAS(MLXN_ISA_PROBE)
#undef MLXN_ISA_PROBE

}  // namespace mlx_native::cpu
