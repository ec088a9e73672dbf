#include "cpu/simd/probe.h"

#include "cpu/generic/math.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

template <Vec (*F)(Vec)>
void map(const float* in, float* out, int n) {
  for_each_vector(0, uint64_t(n), [&](uint64_t i, int lanes) { store_n(out + i, F(load_n(in + i, lanes)), lanes); });
}
Vec exp_of(Vec x) { return exp(x); }
Vec tanh_of(Vec x) { return tanh(x); }
Vec erf_of(Vec x) { return erf(x); }
Vec same(Vec x) { return x; }

void half_to_floats(const uint16_t* in, float* out, int n) {
  for_each_vector(0, uint64_t(n), [&](uint64_t i, int lanes) {
    store_n(out + i, lanes == kLanes ? load_half(in + i) : load_half_part(in + i, lanes), lanes);
  });
}
void floats_to_half(const float* in, uint16_t* out, int n) {
  for_each_vector(0, uint64_t(n), [&](uint64_t i, int lanes) {
    lanes == kLanes ? store_half(out + i, load(in + i)) : store_half_part(out + i, load_part(in + i, lanes), lanes);
  });
}
void bfloats(const uint16_t* in, float* out, int) { store(out, load_bfloat(in)); }

float sum_of(const float* lanes) { return sum(load(lanes)); }
float max_lane_of(const float* lanes) { return max_lane(load(lanes)); }

void put(Codes codes, uint8_t* out) { __builtin_memcpy(out, &codes, sizeof codes); }
void run_of(const uint8_t* codes, float* out) {
  const Run run = to_run(CodeReader{}.load(codes));
  for (int part = 0; part < kRunParts; ++part) store(out + part * kLanes, run.part[part]);
}
void spread(uint32_t bits16, uint8_t* out) { put(CodeReader{}.spread(bits16), out); }
void lookup(const uint8_t* table, const uint8_t* indices, uint8_t* out) {
  put(CodeReader{}.lookup(table, CodeReader{}.load(indices)), out);
}
void shift(const uint8_t* codes, int right, uint8_t* out) { put(CodeReader{}.load(codes) >> right, out); }
void bytes(uint32_t low, uint32_t high, float* out) { store_oct(out, signed_bytes(low, high)); }

#define MLXN_TEXT(text) #text
#define MLXN_NAME_OF(isa) MLXN_TEXT(isa)

}  // namespace

SimdProbe probe() {
  return {MLXN_NAME_OF(MLXN_ISA),
          kLanes,
          map<exp_of>,
          map<tanh_of>,
          map<erf_of>,
          map<same>,
          half_to_floats,
          floats_to_half,
          bfloats,
          sum_of,
          max_lane_of,
          run_of,
          spread,
          lookup,
          shift,
          bytes};
}

}  // namespace mlx_native::cpu::MLXN_ISA
