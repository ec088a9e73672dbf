// Attention, alone and behind kv_cache_write.
#include "args/attention.h"

#include "conformance/cache.h"

namespace mlx_native::conformance {
namespace {

class OpAttention : public OnBackend {
 protected:
  struct Shape {
    std::uint32_t n_tokens, n_heads, n_kv_heads, head_dim, capacity, first;
    bool causal = true, f16 = false;
    std::uint32_t window = 0;
    float softcap = 0, spread = 1;
  };
  /// A forced kernel may be made for other shapes.
  static bool has_kernel(const KernelRegistry& registry, const MlxDevice& device, const Shape& s) {
    const AttentionArgs args{nullptr,   nullptr,      nullptr,    nullptr,    nullptr,  nullptr,  s.f16, s.n_tokens,
                             s.n_heads, s.n_kv_heads, s.head_dim, s.capacity, s.causal, s.window, 1.0f,  s.softcap};
    return detail::RegistryAccess::select(registry, device, Op::Attention, {}, Precision::Full, &args).has_value();
  }
  void expect_attended(const KernelRegistry& registry, const Shape& s) const {
    SCOPED_TRACE(testing::Message() << s.n_tokens << " tokens from " << s.first << ", heads " << s.n_heads << "/"
                                    << s.n_kv_heads << " of " << s.head_dim << ", capacity " << s.capacity
                                    << (s.causal ? ", causal" : "") << (s.f16 ? ", f16" : "") << ", window " << s.window
                                    << ", softcap " << s.softcap);
    if (!has_kernel(registry, MlxDevice::create(GetParam(), {.threads = 1}).value(), s)) return;
    Random random(s.n_tokens + s.head_dim);
    auto q = random.values(std::size_t{s.n_tokens} * s.n_heads * s.head_dim);
    for (float& v : q) v *= s.spread;
    auto k = random.values(std::size_t{s.n_kv_heads} * s.capacity * s.head_dim), v = random.values(k.size());
    (void)cache_bytes(k, s.f16);
    (void)cache_bytes(v, s.f16);
    const auto positions = positions_from(s.first, s.n_tokens);
    const float scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
    const auto want = reference::attention(q, k, v, positions,
                                           {.n_heads = s.n_heads,
                                            .n_kv_heads = s.n_kv_heads,
                                            .head_dim = s.head_dim,
                                            .capacity = s.capacity,
                                            .scale = double{scale},
                                            .causal = s.causal,
                                            .sliding_window = s.window,
                                            .softcap = double{s.softcap}});
    // Slots that no query may see hold NaN.
    const std::uint64_t last = std::uint64_t{s.first} + s.n_tokens - 1;
    const auto hide = [&](std::vector<float>& cache) {
      for (std::size_t h = 0; h < s.n_kv_heads; ++h)
        for (std::uint64_t slot = last + 1; slot < s.capacity; ++slot)
          std::fill_n(cache.begin() + static_cast<std::ptrdiff_t>((h * s.capacity + slot) * s.head_dim), s.head_dim,
                      NAN);
    };
    hide(k);
    hide(v);
    std::vector<float> first;
    for (const MlxDevice& device : devices_of(GetParam())) {
      Guarded<float> query(device, q, 4), output(device, q.size(), 12);
      Guarded<std::uint32_t> where(device, positions, 4);
      Cache keys(device, k, s.f16), values(device, v, s.f16);
      CommandEncoder encoder = device.command_encoder().value();
      expect_ok(attention(encoder, registry, device, query.view(), keys.view(), values.view(), where.view(),
                          output.view(),
                          {.n_tokens = s.n_tokens,
                           .n_heads = s.n_heads,
                           .n_kv_heads = s.n_kv_heads,
                           .head_dim = s.head_dim,
                           .kv_capacity = s.capacity,
                           .scale = scale,
                           .causal = s.causal,
                           .sliding_window = s.window,
                           .softcap = s.softcap}));
      expect_ok(encoder.commit_and_wait());
      output.expect_guards_intact();
      ASSERT_LE(relative_error(output.read(), want), 1e-5);
      if (first.empty()) first = output.read();
      ASSERT_TRUE(same_bits(first, output.read())) << device.parallelism() << " threads";
    }
  }
};
MLXN_ON_BACKENDS(OpAttention);

TEST_P(OpAttention, AnyHeadDim) {
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const std::uint32_t dim : {1u, 5u, 64u, 80u, 128u, 256u})
      for (const bool f16 : {false, true}) {
        expect_attended(registry, {1, 4, 2, dim, 40, 30, true, f16});
        expect_attended(registry, {7, 4, 2, dim, 40, 3, true, f16});
        expect_attended(registry, {20, 4, 2, dim, 40, 3, true, f16});
      }
    if (small()) return;
    // More than the memory of a worker holds of a tile.
    expect_attended(registry, {20, 4, 2, 300, 40, 3});
    expect_attended(registry, {9, 4, 2, 2100, 40, 3, true, true});
  });
}

TEST_P(OpAttention, DecodeAndPrefill) {
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    expect_attended(registry, {1, 1, 1, 64, 1, 0});
    expect_attended(registry, {1, 8, 1, 64, 64, 0});
    expect_attended(registry, {1, 6, 6, 64, 512, 500, true, true});
    expect_attended(registry, {33, 8, 2, 64, 64, 0});
    expect_attended(registry, {100, 6, 3, 32, 300, 150, true, true});
    if (small()) return;
    expect_attended(registry, {1, 16, 8, 128, 3000, 2999, true, true});
    expect_attended(registry, {130, 4, 2, 128, 513, 300, true, true});
    expect_attended(registry, {2, 16, 4, 64, 1300, 1200, true, true});
    expect_attended(registry, {1, 7, 1, 64, 700, 1500});
    expect_attended(registry, {300, 1, 1, 64, 300, 0, true, true});
  });
}

TEST_P(OpAttention, AllPositionsWhereNotCausal) {
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    expect_attended(registry, {17, 4, 4, 64, 40, 0, false});
    expect_attended(registry, {9, 4, 2, 64, 64, 20, false, true});
    expect_attended(registry, {9, 4, 2, 64, 64, 20, false, false, 6});
  });
}

TEST_P(OpAttention, TheRingKeepsTheNewest) {
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const bool f16 : {false, true}) {
      expect_attended(registry, {1, 4, 2, 64, 16, 100, true, f16});
      expect_attended(registry, {5, 4, 2, 64, 16, 14, true, f16});
      expect_attended(registry, {16, 2, 2, 32, 16, 1'000'000, true, f16});
      expect_attended(registry, {1, 2, 2, 32, 7, 4'294'967'295u, true, f16});
    }
    // More tokens than slots: the first queries see nothing.
    expect_attended(registry, {20, 2, 1, 16, 12, 3});
  });
}

TEST_P(OpAttention, SlidingWindow) {
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const std::uint32_t window : {1u, 3u, 17u, 1000u}) {
      expect_attended(registry, {1, 4, 2, 64, 64, 50, true, false, window});
      expect_attended(registry, {40, 4, 2, 64, 64, 0, true, true, window});
      expect_attended(registry, {6, 4, 2, 64, 24, 200, true, true, window});
    }
  });
}

TEST_P(OpAttention, SoftcapAndSharpScores) {
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    expect_attended(registry, {9, 4, 2, 64, 64, 20, true, false, 0, 30.0f, 20.0f});
    expect_attended(registry, {1, 4, 2, 64, 64, 20, true, true, 0, 5.0f, 20.0f});
    expect_attended(registry, {9, 4, 2, 64, 64, 20, true, false, 0, 0.0f, 30.0f});
  });
}

// A weight of 0 is not enough: what a query does not see may be infinite, beside queries that see it. On CUDA tiles
// still multiply by it.
TEST_P(OpAttention, WhatAQueryDoesNotSeeMayBeAnything) {
  if (GetParam() == Backend::Cuda) GTEST_SKIP() << "tiles multiply what their rows do not see by 0";
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    const std::uint32_t heads = 2, group = 2, dim = 70, capacity = 100, first = 60;
    for (const std::uint32_t n : {2u, 3u, 8u, 20u})
      for (const auto& [f16, window, threads] : {std::tuple{false, 0u, 1u}, {true, 0u, 2u}, {false, 10u, 2u}}) {
        SCOPED_TRACE(testing::Message() << n << " tokens, window " << window << (f16 ? ", f16" : ""));
        const MlxDevice device = MlxDevice::create(GetParam(), {.threads = threads}).value();
        if (!has_kernel(registry, device, {n, group * heads, heads, dim, capacity, first, true, f16, window})) continue;
        Random random(n);
        const auto q = random.values(std::size_t{n} * group * heads * dim);
        const auto k = random.values(heads * capacity * dim), v = random.values(k.size());
        // The last position, which one query sees; and one before the window of the last query.
        const auto attended = [&](float last, float old) {
          auto spoilt_k = k, spoilt_v = v;
          for (std::size_t h = 0; h < heads; ++h)
            for (auto* const cache : {&spoilt_k, &spoilt_v}) {
              std::fill_n(cache->begin() + static_cast<std::ptrdiff_t>((h * capacity + first + n - 1) * dim), dim,
                          last);
              if (window) (*cache)[(h * capacity + first + n - 1 - window) * dim + 5] = old;
            }
          Cache keys(device, spoilt_k, f16), values(device, spoilt_v, f16);
          Guarded<float> query(device, q, 0), output(device, q.size(), 0);
          Guarded<std::uint32_t> where(device, positions_from(first, n), 0);
          CommandEncoder encoder = device.command_encoder().value();
          expect_ok(attention(encoder, registry, device, query.view(), keys.view(), values.view(), where.view(),
                              output.view(),
                              {.n_tokens = n,
                               .n_heads = group * heads,
                               .n_kv_heads = heads,
                               .head_dim = dim,
                               .kv_capacity = capacity,
                               .scale = 0.1f,
                               .sliding_window = window}));
          expect_ok(encoder.commit_and_wait());
          return output.read();
        };
        const std::size_t row = group * heads * dim;
        const auto calm = attended(0, 0);
        for (const float bad : {INFINITY, -INFINITY, NAN}) {
          const auto late = attended(bad, 0), early = attended(0, bad);
          ASSERT_TRUE(same_bits(std::span(late).first((n - 1) * row), std::span(calm).first((n - 1) * row))) << bad;
          ASSERT_TRUE(same_bits(std::span(early).last(row), std::span(calm).last(row))) << bad;
          EXPECT_FALSE(std::isfinite(late.back())) << "the last query sees it";
        }
      }
  });
}

// Nobody can promise positions that a command wrote; whatever they are, the cache's last is the last token's.
TEST_P(OpAttention, DeviceWrittenPositionsInAnyOrder) {
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    const MlxDevice device = MlxDevice::create(GetParam()).value();
    const std::uint32_t heads = 2, group = 4, dim = 32, capacity = 24;
    const std::vector<std::uint32_t> positions = {4'294'967'295u, 3, 50, 0, 21};
    auto where = written_by_device(device, positions);
    Random random(4);
    auto k = random.values(heads * capacity * dim), v = random.values(k.size());
    const auto q = random.values(positions.size() * group * heads * dim);
    if (!has_kernel(registry, device, {5, group * heads, heads, dim, capacity, 0})) return;
    for (const bool causal : {true, false})
      for (const std::uint32_t window : {0u, 5u}) {
        Cache keys(device, k, false), values(device, v, false);
        Guarded<float> query(device, q, 0), output(device, q.size(), 0);
        CommandEncoder encoder = device.command_encoder().value();
        expect_ok(attention(encoder, registry, device, query.view(), keys.view(), values.view(), where.view(),
                            output.view(),
                            {.n_tokens = 5,
                             .n_heads = group * heads,
                             .n_kv_heads = heads,
                             .head_dim = dim,
                             .kv_capacity = capacity,
                             .scale = 0.2f,
                             .causal = causal,
                             .sliding_window = window}));
        expect_ok(encoder.commit_and_wait());
        const auto want = reference::attention(q, k, v, positions,
                                               {.n_heads = group * heads,
                                                .n_kv_heads = heads,
                                                .head_dim = dim,
                                                .capacity = capacity,
                                                .scale = double{0.2f},
                                                .causal = causal,
                                                .sliding_window = window,
                                                .softcap = 0});
        ASSERT_LE(relative_error(output.read(), want), 1e-5) << "causal " << causal << ", window " << window;
        output.expect_guards_intact();
      }
  });
}

// Of one kernel. A GPU's launcher goes from one to another by the shape.
TEST_P(OpAttention, ARowDoesNotDependOnTheOthers) {
  if (GetParam() != Backend::Cpu) GTEST_SKIP();
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    const std::uint32_t heads = 4, kv_heads = 2, dim = 40, capacity = 1200;
    const MlxDevice device = MlxDevice::create(GetParam(), {.threads = 3}).value();
    for (const std::uint32_t first : {0u, 490u, 1100u}) {
      const std::uint32_t all = 50;
      Random random(first);
      std::vector<float> k = random.values(std::size_t{kv_heads} * capacity * dim), v = random.values(k.size());
      const auto q = random.values(std::size_t{all} * heads * dim);
      Cache keys(device, k, true), values(device, v, true);
      /// Tokens [begin, end) of those at positions first + i.
      const auto attend = [&](std::uint32_t begin, std::uint32_t end) -> std::vector<float> {
        const std::uint32_t n = end - begin;
        if (!has_kernel(registry, device, {n, heads, kv_heads, dim, capacity, first, true, true})) return {};
        Guarded<float> query(device, std::span(q).subspan(begin * heads * dim, n * heads * dim), 0),
            output(device, n * heads * dim, 0);
        Guarded<std::uint32_t> where(device, positions_from(first + begin, n), 0);
        CommandEncoder encoder = device.command_encoder().value();
        expect_ok(attention(encoder, registry, device, query.view(), keys.view(), values.view(), where.view(),
                            output.view(),
                            {.n_tokens = n,
                             .n_heads = heads,
                             .n_kv_heads = kv_heads,
                             .head_dim = dim,
                             .kv_capacity = capacity,
                             .scale = 0.2f}));
        expect_ok(encoder.commit_and_wait());
        return output.read();
      };
      const auto together = attend(0, all);
      for (const auto& [begin, end] : {std::pair{0u, 9u}, {3u, 4u}, {8u, 50u}, {11u, 31u}, {49u, 50u}}) {
        const auto alone = attend(begin, end);
        if (alone.empty() || together.empty()) continue;
        ASSERT_TRUE(same_bits(alone, std::span(together).subspan(begin * heads * dim, alone.size())))
            << "tokens " << begin << " to " << end << " from " << first;
      }
    }
  });
}

TEST_P(OpAttention, CacheThenAttention) {
  for_each_kernel(Op::Attention, {}, [&](const KernelRegistry& registry, const std::string&) {
    const MlxDevice device = MlxDevice::create(GetParam()).value();
    const std::uint32_t heads = 2, q_heads = 12, dim = 32, capacity = 24, n = 3;
    if (!has_kernel(registry, device, {n, q_heads, heads, dim, capacity, 0, true, true})) return;
    Random random(9);
    std::vector<float> keys(heads * capacity * dim), values(keys.size());
    Cache k(device, keys, true), v(device, values, true);
    for (std::uint32_t first = 0; first < 40; first += n) {  // past the end of the ring
      const auto new_k = random.values(n * heads * dim), new_v = random.values(n * heads * dim);
      const auto q = random.values(n * q_heads * dim);
      const auto positions = positions_from(first, n);
      Guarded<float> key(device, new_k, 0), value(device, new_v, 0), query(device, q, 0), output(device, q.size(), 0);
      Guarded<std::uint32_t> where(device, positions, 0);
      const KvCacheWriteParams write{.n_tokens = n, .n_kv_heads = heads, .head_dim = dim, .kv_capacity = capacity};
      CommandEncoder encoder = device.command_encoder().value();
      expect_ok(kv_cache_write(encoder, registry, device, key.view(), where.view(), k.view(), write));
      expect_ok(kv_cache_write(encoder, registry, device, value.view(), where.view(), v.view(), write));
      expect_ok(attention(encoder, registry, device, query.view(), k.view(), v.view(), where.view(), output.view(),
                          {.n_tokens = n,
                           .n_heads = q_heads,
                           .n_kv_heads = heads,
                           .head_dim = dim,
                           .kv_capacity = capacity,
                           .scale = 0.2f}));
      expect_ok(encoder.commit_and_wait());
      reference::kv_cache_write(new_k, positions, keys, heads, capacity, dim);
      reference::kv_cache_write(new_v, positions, values, heads, capacity, dim);
      (void)cache_bytes(keys, true);
      (void)cache_bytes(values, true);
      const auto want = reference::attention(q, keys, values, positions,
                                             {.n_heads = q_heads,
                                              .n_kv_heads = heads,
                                              .head_dim = dim,
                                              .capacity = capacity,
                                              .scale = double{0.2f},
                                              .causal = true,
                                              .sliding_window = 0,
                                              .softcap = 0});
      ASSERT_LE(relative_error(output.read(), want), 1e-5) << "at position " << first;
    }
  });
}

}  // namespace
}  // namespace mlx_native::conformance
