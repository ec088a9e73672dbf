#include "reference/sampling.h"

#include "conformance/conformance.h"

namespace mlx_native::conformance {
namespace {

class OpArgmax : public OnBackend {};
MLXN_ON_BACKENDS(OpArgmax);

TEST_P(OpArgmax, LargestAndOfEqualsTheLowest) {
  for_each_kernel(Op::Argmax, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const auto& [rows, cols] : {std::pair{1u, 1u}, {3, 2}, {7, 17}, {33, 100}, {2, 1025}, {1, 40'000}})
      for (const bool ties : {false, true})
        for (const MlxDevice& device : devices_of(GetParam())) {
          Random random(rows + cols);
          auto x = random.values(std::size_t{rows} * cols);
          if (ties)
            for (float& v : x) v = static_cast<float>(random.below(3)) - 5;
          if (rows > 2) std::fill_n(x.begin() + cols, cols, -INFINITY);
          if (rows > 2) x[2 * cols] = -0.0f, std::fill_n(x.begin() + 2 * cols + 1, cols - 1, 0.0f);
          if (rows > 3) x[4 * cols - 1] = INFINITY;
          std::vector<std::uint32_t> want;
          for (std::uint32_t r = 0; r < rows; ++r)
            want.push_back(reference::argmax(std::span(x).subspan(std::size_t{r} * cols, cols)).value());
          Guarded<float> input(device, x, 4);
          Guarded<std::uint32_t> index(device, rows, 8);
          CommandEncoder encoder = device.command_encoder().value();
          expect_ok(argmax(encoder, registry, device, input.view(), index.view(), {.rows = rows, .cols = cols}));
          expect_ok(encoder.commit_and_wait());
          ASSERT_EQ(index.read(), want) << rows << " x " << cols;
          index.expect_guards_intact();
        }
  });
}

TEST_P(OpArgmax, NanIsReportedAtTheWaitAndPoisonsThatEncoderAlone) {
  for_each_kernel(Op::Argmax, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const auto& [device, cols] : {std::pair{devices_of(GetParam()).front(), 70u},
                                       {devices_of(GetParam()).back(), 70u},
                                       {devices_of(GetParam()).back(), 9'000u}}) {
      const std::uint32_t rows = 6;
      auto x = Random(1).values(std::size_t{rows} * cols);
      x[5 * cols - 1] = NAN;
      Guarded<float> input(device, x, 0);
      Guarded<std::uint32_t> index(device, rows, 0), other(device, 4, 0);
      CommandEncoder bad = device.command_encoder().value(), good = device.command_encoder().value();
      expect_ok(argmax(bad, registry, device, input.view(), index.view(), {.rows = rows, .cols = cols}));
      expect_ok(argmax(good, registry, device, input.view(), other.view(), {.rows = 4, .cols = cols}));
      const auto committed = bad.commit();
      const auto failed = committed ? bad.wait() : committed;
      ASSERT_FALSE(failed.has_value());
      EXPECT_EQ(failed.error().kind, ErrorKind::InvalidArgument);
      EXPECT_THAT(failed.error().message, testing::HasSubstr("row 4"));
      const auto indices = index.read();
      for (std::uint32_t r = 0; r < rows; ++r) {
        const auto want = reference::argmax(std::span(x).subspan(std::size_t{r} * cols, cols));
        EXPECT_EQ(indices[r], want.value_or(UINT32_MAX)) << "row " << r;
      }
      EXPECT_EQ(argmax(bad, registry, device, input.view(), index.view(), {.rows = 1, .cols = cols}).error().message,
                failed.error().message)
          << "the encoder is poisoned";
      expect_ok(good.commit_and_wait());
      CommandEncoder fresh = device.command_encoder().value();
      expect_ok(argmax(fresh, registry, device, input.view(), index.view(), {.rows = 4, .cols = cols}));
      expect_ok(fresh.commit_and_wait());
    }
  });
}

class OpSample : public OnBackend {
 protected:
  struct Case {
    reference::Sampling params;
    std::uint64_t seed = 1;
  };
  /// Draws `draws` tokens in one encoder and compares each with the reference.
  void expect_draws(const MlxDevice& device, const KernelRegistry& registry, std::span<const float> x,
                    std::span<const std::uint32_t> history, const Case& c, std::uint32_t draws) const {
    const auto& [penalty, temperature, top_k, top_p, min_p] = c.params;
    SCOPED_TRACE(testing::Message() << x.size() << " logits, penalty " << penalty << ", temperature " << temperature
                                    << ", top_k " << top_k << ", top_p " << top_p << ", min_p " << min_p << ", seed "
                                    << c.seed);
    Guarded<float> logits(device, x, 4);
    std::optional<Guarded<std::uint32_t>> past;
    if (!history.empty()) past.emplace(device, history, 4);
    Guarded<std::uint32_t> tokens(device, draws, 4);
    CommandEncoder encoder = device.command_encoder().value();
    std::vector<std::uint32_t> want;
    for (std::uint32_t step = 0; step < draws; ++step) {
      MlxBuffer token = tokens.view().slice_view(step * 4, 1).value();
      expect_ok(sample(encoder, registry, device, logits.view(), past ? &past->view() : nullptr, token,
                       {.n_vocab = static_cast<std::uint32_t>(x.size()),
                        .n_history = static_cast<std::uint32_t>(history.size()),
                        .repeat_penalty = penalty,
                        .temperature = temperature,
                        .top_k = top_k,
                        .top_p = top_p,
                        .min_p = min_p,
                        .seed = c.seed,
                        .step = step}));
      want.push_back(reference::sample(x, history, c.params, c.seed, step).value());
    }
    expect_ok(encoder.commit_and_wait());
    ASSERT_EQ(tokens.read(), want);
    tokens.expect_guards_intact();
    EXPECT_TRUE(same_bits(logits.read(), x)) << "the logits are an input";
  }
};
MLXN_ON_BACKENDS(OpSample);

constexpr reference::Sampling kSettings[] = {{1, 0, 0, 1, 0},
                                             {1, 1, 0, 1, 0},
                                             {1, 0.7f, 40, 0.9f, 0},
                                             {1, 1, 0, 0.5f, 0},
                                             {1, 1, 0, 1, 0.1f},
                                             {1.3f, 0.8f, 0, 0.95f, 0},
                                             {1.5f, 0, 0, 1, 0},
                                             {0.7f, 1, 5, 1, 0},
                                             {1, 5, 3, 0.9f, 0.2f},
                                             {1, 1, 1, 1, 0},
                                             {1, 1, 0, 1e-6f, 0},
                                             {1, 1, 0, 1, 1},
                                             {1, 1e-30f, 0, 1, 0},
                                             {1, 1e30f, 0, 0.48f, 0.5f},
                                             {1, 1, 4'000'000'000u, 1, 0}};

TEST_P(OpSample, TokenByTokenAsTheReference) {
  for_each_kernel(Op::Sample, {}, [&](const KernelRegistry& registry, const std::string&) {
    const auto devices = devices_of(GetParam());
    std::uint64_t seed = 0;
    for (const auto& settings : kSettings)
      for (const std::size_t n_vocab : {1, 2, 17, 100, 1000, 5001}) {
        auto x = Random(n_vocab).values(n_vocab);
        for (float& v : x) v *= 3;
        const auto history =
            settings.repeat_penalty == 1 ? std::vector<std::uint32_t>{} : Random(5).ids(64, n_vocab + 10);
        ++seed;
        expect_draws(devices[seed % devices.size()], registry, x, history, {settings, seed << 40 | seed},
                     small() ? 3 : 16);
      }
  });
}

TEST_P(OpSample, AmongEqualLogitsTheLowestIndicesAreKept) {
  for_each_kernel(Op::Sample, {}, [&](const KernelRegistry& registry, const std::string&) {
    Random random(2);
    std::vector<float> x(700);
    for (float& v : x) v = static_cast<float>(random.below(3));
    for (const MlxDevice& device : devices_of(GetParam()))
      for (const auto& settings : {reference::Sampling{1, 1, 300, 1, 0}, {1, 1, 0, 0.3f, 0}, {1, 2, 450, 0.9f, 0.3f}})
        expect_draws(device, registry, x, {}, {settings, 77}, small() ? 4 : 40);
  });
}

TEST_P(OpSample, MaskedTokensAreNeverDrawn) {
  for_each_kernel(Op::Sample, {}, [&](const KernelRegistry& registry, const std::string&) {
    std::vector<float> x(300, -INFINITY);
    x[17] = -3, x[250] = -3.5f, x[299] = 1e-30f;
    for (const MlxDevice& device : devices_of(GetParam()))
      for (const auto& settings :
           {reference::Sampling{1, 1, 0, 1, 0}, {1, 1, 2, 1, 0}, {2, 0, 0, 1, 0}, {1, 1, 8, 0.99f, 0}})
        expect_draws(device, registry, x, std::vector<std::uint32_t>{299, 17, 5}, {settings, 3}, small() ? 4 : 30);
  });
}

TEST_P(OpSample, ALargeVocabulary) {
  if (small()) GTEST_SKIP() << "slow there";
  for_each_kernel(Op::Sample, {}, [&](const KernelRegistry& registry, const std::string&) {
    auto x = Random(8).values(151'936, Data::Outliers);
    for (const auto& settings : {reference::Sampling{1, 1, 0, 1, 0}, {1, 1, 0, 0.9f, 0}, {1, 0.8f, 50, 0.95f, 0.05f}})
      expect_draws(MlxDevice::create(GetParam()).value(), registry, x, {}, {settings, 99}, 3);
  });
}

TEST_P(OpSample, BrokenLogitsAreReportedAtTheWait) {
  for_each_kernel(Op::Sample, {}, [&](const KernelRegistry& registry, const std::string&) {
    for (const MlxDevice& device : devices_of(GetParam()))
      for (const auto& [value, temperature] : {std::pair{NAN, 1.0f},
                                               {NAN, 0.0f},
                                               {INFINITY, 1.0f},
                                               {INFINITY, 0.0f},
                                               {-INFINITY, 1.0f},
                                               {-INFINITY, 0.0f}}) {
        std::vector<float> x(90, 1.0f);
        if (value < 0)
          std::ranges::fill(x, value);
        else
          x[41] = value;
        Guarded<float> logits(device, x, 0);
        Guarded<std::uint32_t> token(device, 1, 0);
        CommandEncoder encoder = device.command_encoder().value();
        expect_ok(sample(encoder, registry, device, logits.view(), nullptr, token.view(),
                         {.n_vocab = 90, .temperature = temperature}));
        const auto done = encoder.commit_and_wait();
        ASSERT_FALSE(done.has_value()) << value;
        EXPECT_EQ(done.error().kind, ErrorKind::InvalidArgument);
        EXPECT_THAT(done.error().message, testing::HasSubstr(value < 0 ? "no logit is finite" : "logit 41"));
        EXPECT_EQ(token.read()[0], UINT32_MAX);
      }
  });
}

// The reference itself: its draws approach the probabilities of the textbook. With 20 cells at most, a chi-squared
// above 60 has a probability below 1e-5; the draws are the same in every run.
TEST(SampleReference, DrawsFollowTheDistribution) {
  const auto x = Random(4).values(20);
  const std::vector<std::uint32_t> history = {3, 3, 19, 700};
  for (const auto& settings : kSettings) {
    if (settings.temperature == 0) continue;
    const auto probability = reference::sample_distribution(x, history, settings);
    constexpr int kDraws = 20'000;
    std::vector<int> count(x.size());
    for (int step = 0; step < kDraws; ++step)
      ++count[reference::sample(x, history, settings, 12345, static_cast<std::uint64_t>(step)).value()];
    double chi_squared = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = probability[i] * kDraws;
      if (expected < 1e-9)
        EXPECT_EQ(count[i], 0) << "token " << i << " is not among the kept";
      else
        chi_squared += (count[i] - expected) * (count[i] - expected) / expected;
    }
    EXPECT_LT(chi_squared, 60) << "temperature " << settings.temperature << ", top_k " << settings.top_k << ", top_p "
                               << settings.top_p << ", min_p " << settings.min_p;
  }
}

}  // namespace
}  // namespace mlx_native::conformance
