/* What the comparison asks of another library. Libraries that define the same symbols live in one process because each
 * stands behind this interface in a shared object of its own, which exports mlxn_peer() and nothing else. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Matrices [n, k] (experts = 0) or [experts, n, k] of one ggml type, as in a GGUF file, aligned to 64 bytes. They stay
 * valid until destroy. */
struct PeerWeights {
  uint32_t type, n, k, experts;
  const uint8_t* const* matrices;
  uint32_t count;
  int repacked; /* a copy in the library's own order of rows */
};

/* Products of equal shape. Product i takes matrix i % count and slot i % per_run: its input x[slot], [rows, k], and its
 * output. Routed ones take row j of ids[i], [rows, top], for row j of x. A run makes `per_run` products. */
struct PeerProducts {
  uint32_t rows, top, products, per_run;
  const float* const* x;
  const int32_t* const* ids;
  int threads;
};

struct Peer {
  const char* description;
  /* Null where the library has no repacked form of such weights. */
  void* (*create)(const struct PeerWeights* weights);
  /* What run() will do; replaces what was prepared before. Outputs start as NaN. False if it cannot. */
  int (*prepare)(void* peer, const struct PeerProducts* products);
  /* Products [index * per_run, (index + 1) * per_run). False if it fails. */
  int (*run)(void* peer, uint32_t index);
  /* Of the last run: [rows, n] or [rows, top, n]. */
  const float* (*output)(void* peer, uint32_t slot);
  void (*destroy)(void* peer);
};

typedef const struct Peer* (*PeerEntry)(void);

#ifdef __cplusplus
}
#endif
