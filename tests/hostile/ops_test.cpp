// Malformed calls of ops: each ends in an error that says what was given and what was needed, and records nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "hostile/op_calls.h"

namespace mlx_native::hostile {
namespace {

constexpr std::uint32_t kMax = std::numeric_limits<std::uint32_t>::max();

struct Case {
  const char* name;
  std::function<Result<void>(Bench&)> call;
  std::vector<const char*> says;  // what was given, what was needed
  ErrorKind kind = ErrorKind::InvalidArgument;
};

/// A case that makes a correct call of Op, lets `spoil` change it, and calls.
template <class Op>
Case spoilt(const char* name, void (*spoil)(Op&), std::vector<const char*> says,
            ErrorKind kind = ErrorKind::InvalidArgument) {
  return {name,
          [spoil](Bench& b) {
            Op op{b};
            spoil(op);
            return op();
          },
          std::move(says), kind};
}

std::vector<Case> cases() {
  return {
      spoilt<Matmul>("ZeroRows", [](Matmul& c) { c.p.m = 0; }, {"quantized_matmul_ggml", "m is 0", "at least 1"}),
      spoilt<Matmul>("ZeroColumns", [](Matmul& c) { c.p.n = 0; }, {"n is 0"}),
      spoilt<Matmul>("ZeroDepth", [](Matmul& c) { c.p.k = 0; }, {"k is 0"}),
      spoilt<Matmul>("PartOfABlock", [](Matmul& c) { c.p.k = 128; }, {"k is 128", "multiple of 256", "q4_K"}),
      spoilt<Matmul>(
          "UnknownType", [](Matmul& c) { c.p.ggml_type = GgmlType{999}; }, {"unknown", "999"},
          ErrorKind::UnsupportedDtype),
      spoilt<Matmul>(
          "TypeWithoutDecode", [](Matmul& c) { c.p.ggml_type = GgmlType::I32; }, {"i32", "weight format"},
          ErrorKind::UnsupportedDtype),
      spoilt<Matmul>("NoPrecision", [](Matmul& c) { c.p.precision = static_cast<Precision>(17); }, {"precision is 17"}),
      spoilt<Matmul>("WeightOfFloats", [](Matmul& c) { c.w = c.b.f32(1000); }, {"weight is f32", "q4_K needs u8"}),
      spoilt<Matmul>("PlainWeightOfAnotherDtype",
                     [](Matmul& c) { c.p.ggml_type = GgmlType::F16, c.w = c.b.make(DType::BF16, 1000); },
                     {"weight is bf16", "f16 needs u8 or f16"}),
      spoilt<Matmul>("InputOfIntegers", [](Matmul& c) { c.x = c.b.u32(512); }, {"input is u32", "must be f32"}),
      spoilt<Matmul>("OutputOfHalves", [](Matmul& c) { c.y = c.b.make(DType::F16, 6); },
                     {"output is f16", "must be f32"}),
      spoilt<Matmul>("SmallWeight", [](Matmul& c) { c.w = c.b.u8(3 * 144 - 1); }, {"weight holds 431", "432"}),
      spoilt<Matmul>("SmallInput", [](Matmul& c) { c.x = c.b.f32(511); }, {"input holds 511", "512", "2 x 256"}),
      spoilt<Matmul>("SmallOutput", [](Matmul& c) { c.y = c.b.f32(5); }, {"output holds 5", "6", "2 x 3"}),
      spoilt<Matmul>("SmallView",
                     [](Matmul& c) { c.y = c.b.f32(64).slice_view(232, 6).value().slice_view(4, 5).value(); },
                     {"output holds 5"}),
      spoilt<Matmul>("ExtentsThatWrap", [](Matmul& c) { c.p.m = kMax, c.p.n = kMax; },
                     {"weight holds", "618475290480"}),
      spoilt<Matmul>("MisalignedWeight", [](Matmul& c) { c.w = c.b.u8(600).slice_view(33, 432).value(); },
                     {"starts at byte 33", "multiple of"}),
      spoilt<Matmul>("ForeignInput", [](Matmul& c) { c.x = c.b.foreign(512); }, {"input belongs to another device"}),
      spoilt<Matmul>("ForeignOutput", [](Matmul& c) { c.y = c.b.foreign(6); }, {"output belongs to another device"}),
      spoilt<Matmul>("ForeignEncoder", [](Matmul& c) { c.b.encoder = c.b.other.command_encoder().value(); },
                     {"encoder belongs to another device"}),
      spoilt<Matmul>("ReadOnlyOutput", [](Matmul& c) { c.y = c.b.read_only(6); }, {"output is read-only"}),
      spoilt<Matmul>("OutputOverInput", [](Matmul& c) { c.y = c.x.slice_view(2040, 2).value(), c.p.m = 2, c.p.n = 1; },
                     {"output overlaps input", "bytes 2040 to 2048", "0 to 2048"}),
      spoilt<Matmul>("OutputIsInput", [](Matmul& c) { c.y = c.x; }, {"output overlaps input"}),
      spoilt<Matmul>("OutputOverWeight",
                     [](Matmul& c) {
                       MlxBuffer all = c.b.u8(1024);
                       c.w = all.slice_view(0, 432).value();
                       c.y = all.reinterpret(DType::F32, {256}).value().slice_view(428, 6).value();
                     },
                     {"output overlaps weight", "428 to 452", "0 to 432"}),

      spoilt<MatmulId>("IdZeroTokens", [](MatmulId& c) { c.p.n_tokens = 0; }, {"n_tokens is 0"}),
      spoilt<MatmulId>("IdZeroTopK", [](MatmulId& c) { c.p.top_k = 0; }, {"top_k is 0"}),
      spoilt<MatmulId>("IdNoExperts", [](MatmulId& c) { c.p.n_experts = 0; }, {"n_experts is 0"}),
      spoilt<MatmulId>("IdStrideBelowAnExpert", [](MatmulId& c) { c.p.expert_stride = 202; },
                       {"expert_stride is 202", "3 x 68 bytes"}),
      spoilt<MatmulId>("IdOddStride", [](MatmulId& c) { c.p.expert_stride = 207; },
                       {"expert_stride is 207", "multiple"}),
      spoilt<MatmulId>("IdStrideThatWraps", [](MatmulId& c) { c.p.expert_stride = ~std::uint64_t{0} - 15; },
                       {"weight holds", "more than 2^64"}),
      spoilt<MatmulId>("IdSmallWeight", [](MatmulId& c) { c.w = c.b.u8(c.w.byte_len() - 1); },
                       {"weight holds 917", "918"}),
      spoilt<MatmulId>("IdSmallIds", [](MatmulId& c) { c.ids = c.b.u32(3); }, {"ids holds 3", "4", "2 x 2"}),
      spoilt<MatmulId>("IdSignedIds", [](MatmulId& c) { c.ids = c.b.make(DType::I32, 4); }, {"ids is i32", "u32"}),
      spoilt<MatmulId>("IdOutOfRange",
                       [](MatmulId& c) {
                         c.ids = c.b.counting({0, 1, 4, 2});
                       },
                       {"ids[2] is 4", "below n_experts 4"}),
      spoilt<MatmulId>("IdSmallOutput", [](MatmulId& c) { c.y = c.b.f32(11); }, {"output holds 11", "2 x 2 x 3"}),
      spoilt<MatmulId>("IdOutputOverIds",
                       [](MatmulId& c) { c.y = c.b.f32(12), c.ids = c.y.reinterpret(DType::U32, {4}).value(); },
                       {"output overlaps ids"}),

      spoilt<Embedding>("EmbeddingNoRows", [](Embedding& c) { c.p.n_rows = 0; }, {"n_rows is 0"}),
      spoilt<Embedding>("EmbeddingPartOfABlock", [](Embedding& c) { c.p.dim = 33; }, {"dim is 33", "multiple of 32"}),
      spoilt<Embedding>("EmbeddingSmallTable", [](Embedding& c) { c.p.n_rows = 6; }, {"table holds 90", "108"}),
      spoilt<Embedding>("EmbeddingIdOutOfRange",
                        [](Embedding& c) {
                          c.ids = c.b.counting({0, kMax});
                        },
                        {"ids[1] is 4294967295", "n_rows 5"}),
      spoilt<Dequantize>("DequantizePartOfABlock", [](Dequantize& c) { c.p.n_values = 63; }, {"n_values is 63", "32"}),
      spoilt<Dequantize>("DequantizeTooMany", [](Dequantize& c) { c.p.n_values = ~std::uint64_t{0} - 31; },
                         {"blocks holds 68|exceed 2^64"}),
      spoilt<Dequantize>("DequantizeNothing", [](Dequantize& c) { c.p.n_values = 0; }, {"n_values is 0"}),

      spoilt<Norm>("NormNegativeEps", [](Norm& c) { c.p.eps = -1; }, {"rms_norm", "eps is -1", "at least 0"}),
      spoilt<Norm>("NormNanEps", [](Norm& c) { c.p.eps = NAN; }, {"eps is nan", "finite"}),
      spoilt<Norm>("NormSmallWeight", [](Norm& c) { c.w = c.b.f32(7); }, {"weight holds 7", "8"}),
      spoilt<Norm>("NormShiftedInPlace",
                   [](Norm& c) {
                     MlxBuffer all = c.b.f32(25);
                     c.x = all.slice_view(0, 24).value();
                     c.y = all.slice_view(4, 24).value();
                   },
                   {"output overlaps input", "bytes 4 to 100", "0 to 96", "the same"}),
      spoilt<Norm>("NormIntoItsWeight", [](Norm& c) { c.w = c.y; }, {"output overlaps weight"}),

      spoilt<Rope>("RopeOddDim", [](Rope& c) { c.p.rope_dim = 7; }, {"rope_dim is 7", "even"}),
      spoilt<Rope>("RopeBeyondTheHead", [](Rope& c) { c.p.rope_dim = 18; }, {"rope_dim is 18", "head_dim 16"}),
      spoilt<Rope>("RopeShortSplit", [](Rope& c) { c.p.pair_split = 3; }, {"pair_split is 3", "4 to 12"}),
      spoilt<Rope>("RopeLongSplit", [](Rope& c) { c.p.pair_split = 13; }, {"pair_split is 13", "4 to 12"}),
      spoilt<Rope>("RopeSplitOfAdjacent", [](Rope& c) { c.p.pairing = RopePairing::Adjacent, c.p.pair_split = 8; },
                   {"pair_split is 8"}),
      spoilt<Rope>("RopeNoPairing", [](Rope& c) { c.p.pairing = static_cast<RopePairing>(5); }, {"pairing is 5"}),
      spoilt<Rope>("RopeZeroTheta", [](Rope& c) { c.p.theta = 0; }, {"theta is 0", "above 0"}),
      spoilt<Rope>("RopeInfiniteScale", [](Rope& c) { c.p.freq_scale = INFINITY; }, {"freq_scale is inf", "finite"}),
      spoilt<Rope>("RopeFewFactors", [](Rope& c) { c.factors = c.b.f32(3); }, {"freq_factors holds 3", "4"}),
      spoilt<Rope>("RopeSignedPositions", [](Rope& c) { c.positions = c.b.make(DType::I32, 2); },
                   {"positions is i32", "u32"}),

      spoilt<CacheWrite>("CacheTooSmallForTheTokens", [](CacheWrite& c) { c.p.kv_capacity = 2; },
                         {"kv_capacity is 2", "3 tokens"}),
      spoilt<CacheWrite>("CacheOfIntegers", [](CacheWrite& c) { c.cache = c.b.u32(64); },
                         {"cache is u32", "f32 or f16"}),
      spoilt<CacheWrite>("CacheHoldsLess", [](CacheWrite& c) { c.cache = c.b.f32(63); },
                         {"cache holds 63", "2 x 8 x 4"}),
      spoilt<CacheWrite>("CacheGapInPositions",
                         [](CacheWrite& c) {
                           c.positions = c.b.counting({5, 6, 8});
                         },
                         {"positions[2] is 8 after 6", "one more"}),
      spoilt<CacheWrite>("CachePositionsWrap",
                         [](CacheWrite& c) {
                           c.positions = c.b.counting({kMax - 1, kMax, 0});
                         },
                         {"positions[2] is 0 after 4294967295"}),

      spoilt<Attention>("AttentionHeadsDoNotDivide", [](Attention& c) { c.p.n_heads = 3; },
                        {"n_heads is 3", "multiple of n_kv_heads 2"}),
      spoilt<Attention>("AttentionNoKvHeads", [](Attention& c) { c.p.n_kv_heads = 0; }, {"n_kv_heads is 0"}),
      spoilt<Attention>("AttentionMixedCaches", [](Attention& c) { c.v = c.b.make(DType::F16, 64); },
                        {"v_cache is f16", "f32"}),
      spoilt<Attention>("AttentionNanScale", [](Attention& c) { c.p.scale = NAN; }, {"scale is nan", "finite"}),
      spoilt<Attention>("AttentionNegativeSoftcap", [](Attention& c) { c.p.softcap = -30; }, {"softcap is -30"}),
      spoilt<Attention>("AttentionPositionsFall",
                        [](Attention& c) {
                          c.positions = c.b.counting({5, 4, 3});
                        },
                        {"positions[1] is 4 after 5"}),
      spoilt<Attention>("AttentionIntoItsQuery", [](Attention& c) { c.y = c.q; }, {"output overlaps query"}),
      spoilt<Attention>("AttentionHugeCache",
                        [](Attention& c) {
                          c.p.kv_capacity = kMax, c.p.head_dim = kMax, c.p.n_heads = kMax - 1,
                          c.p.n_kv_heads = kMax - 1;
                        },
                        {"query holds 48", "more than 2^64"}),

      spoilt<Add>("AddNothing", [](Add& c) { c.p.rows = 0; }, {"rows is 0"}),
      spoilt<Add>("AddShortB", [](Add& c) { c.y = c.b.f32(5); }, {"b holds 5", "3 x 5"}),
      spoilt<Add>("AddIntoItsBias", [](Add& c) { c.p.broadcast_b = true, c.z = c.y; }, {"output overlaps b"}),
      spoilt<Silu>("SiluNothing", [](Silu& c) { c.p.n = 0; }, {"n is 0"}),
      spoilt<Silu>("SiluWraps", [](Silu& c) { c.p.n = std::uint64_t{1} << 62; },
                   {"gate holds 10", "4611686018427387904"}),
      spoilt<Gelu>("GeluNoKind", [](Gelu& c) { c.p.kind = static_cast<GeluKind>(9); }, {"kind is 9"}),

      spoilt<Topk>("TopkOfFewer", [](Topk& c) { c.p.top_k = 7; }, {"top_k is 7", "n_experts 6"}),
      spoilt<Topk>("TopkTwoOutputsInOne", [](Topk& c) { c.weights = c.ids.reinterpret(DType::F32, {6}).value(); },
                   {"weights overlaps ids"}),
      spoilt<Reduce>("ReduceShortWeights", [](Reduce& c) { c.w = c.b.f32(5); }, {"weights holds 5", "2 x 3"}),
      spoilt<Reduce>("ReduceIntoItsInput", [](Reduce& c) { c.y = c.x; }, {"output overlaps experts"}),

      spoilt<Argmax>("ArgmaxNoColumns", [](Argmax& c) { c.p.cols = 0; }, {"cols is 0"}),
      spoilt<Argmax>("ArgmaxFloatIndex", [](Argmax& c) { c.index = c.b.f32(2); }, {"index is f32", "u32"}),
      spoilt<Sample>("SampleNoHistory", [](Sample& c) { c.history.reset(); }, {"n_history is 4", "no history"}),
      spoilt<Sample>("SampleShortHistory", [](Sample& c) { c.history = c.b.u32(3); }, {"history holds 3", "4"}),
      spoilt<Sample>("SampleZeroPenalty", [](Sample& c) { c.p.repeat_penalty = 0; },
                     {"repeat_penalty is 0", "above 0"}),
      spoilt<Sample>("SampleColdBelowZero", [](Sample& c) { c.p.temperature = -0.5f; }, {"temperature is -0.5"}),
      spoilt<Sample>("SampleHotBeyondFloat", [](Sample& c) { c.p.temperature = INFINITY; }, {"temperature is inf"}),
      spoilt<Sample>("SampleZeroTopP", [](Sample& c) { c.p.top_p = 0; }, {"top_p is 0", "(0, 1]"}),
      spoilt<Sample>("SampleNanTopP", [](Sample& c) { c.p.top_p = NAN; }, {"top_p is nan"}),
      spoilt<Sample>("SampleLargeMinP", [](Sample& c) { c.p.min_p = 1.5f; }, {"min_p is 1.5", "[0, 1]"}),
      spoilt<Sample>("SampleNanMinP", [](Sample& c) { c.p.min_p = NAN; }, {"min_p is nan"}),
      spoilt<Sample>("SampleShortLogits", [](Sample& c) { c.p.n_vocab = 11; }, {"logits holds 10", "11"}),
      spoilt<Checksum>("ChecksumOfNothing", [](Checksum& c) { c.p.n_words = 0; }, {"n_words is 0"}),
      spoilt<Checksum>("ChecksumShortInput", [](Checksum& c) { ++c.p.n_words; }, {"input holds 4101", "4102"}),
      spoilt<Checksum>("ChecksumWraps", [](Checksum& c) { c.p.n_words = UINT64_MAX; }, {"input holds 4101"}),
      spoilt<Checksum>("ChecksumShortSums", [](Checksum& c) { c.sums = c.b.u32(1); }, {"sums holds 1", "2"}),
      spoilt<Sample>("SampleMovedFromLogits", [](Sample& c) { MlxBuffer taken = std::move(c.x); },
                     {"logits", "moved from"}),
  };
}

class HostileOp : public testing::TestWithParam<std::tuple<Backend, Case>> {};
INSTANTIATE_TEST_SUITE_P(All, HostileOp,
                         testing::Combine(testing::ValuesIn(available_backends()), testing::ValuesIn(cases())),
                         [](const auto& info) {
                           return std::string(backend_name(std::get<0>(info.param))) + std::get<1>(info.param).name;
                         });

TEST_P(HostileOp, IsAnErrorThatSaysWhy) {
  const auto& [backend, c] = GetParam();
  Bench bench{MlxDevice::create(backend).value()};
  const auto result = c.call(bench);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().kind, c.kind) << result.error().message;
  for (const char* const text : c.says) {
    const std::string either(text);
    const auto bar = either.find('|');
    EXPECT_THAT(result.error().message,
                testing::AnyOf(testing::HasSubstr(either.substr(0, bar)),
                               testing::HasSubstr(bar == std::string::npos ? either : either.substr(bar + 1))));
  }
  EXPECT_EQ(bench.encoder.dispatch_count(), 0u);
}

template <class Op>
class CorrectOp : public testing::Test {};
using AllOps = testing::Types<Matmul, MatmulId, Embedding, Dequantize, Norm, Rope, CacheWrite, Attention, Add, Silu,
                              Gelu, Topk, Reduce, Argmax, Sample, Checksum>;
TYPED_TEST_SUITE(CorrectOp, AllOps);

// What the cases above start from is correct, or they would prove nothing.
TYPED_TEST(CorrectOp, IsRecorded) {
  Bench bench{MlxDevice::create(Backend::Cpu).value()};
  TypeParam op{bench};
  const auto result = op();
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(bench.encoder.dispatch_count(), 1u);
  EXPECT_TRUE(bench.encoder.commit_and_wait().has_value());
}

}  // namespace
}  // namespace mlx_native::hostile
