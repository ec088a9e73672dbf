#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "cli/process.h"
#include "mlx_native/ggml_type.h"
#include "support/lane.h"

namespace mlx_native::test {
namespace {

using testing::HasSubstr;
using Arguments = std::vector<std::string>;

TEST(CliBench, ModelAsLlamaBenchPrintsIt) {
  const Arguments arguments = {"bench", "-m", dense_model(), "-p", "16", "-n", "4", "-r", "2", "-t", "2"};
  const auto table = mlxn(arguments);
  EXPECT_EQ(table.code, 0) << table.err;
  for (const char* part : {"| model", "size", "params", "backend", "threads", "memory: file", "peak RSS", "test", "t/s",
                           "pp16", "tg4", "16.26 M", "\u00b1", "-:"})
    EXPECT_THAT(table.out, HasSubstr(part));
  auto with_json = arguments;
  with_json.push_back("--json");
  const auto json = mlxn(with_json).json();
  ASSERT_EQ(json.size(), 2u);
  for (const auto& row : json) {
    EXPECT_EQ(row.at("backend"), "cpu");
    EXPECT_EQ(row.at("threads"), 2);
    EXPECT_GT(row.at("avg_ts").get<double>(), 0);
    EXPECT_GE(row.at("stddev_ts").get<double>(), 0);
    EXPECT_EQ(row.at("samples_ts").size(), 2u);
    EXPECT_GT(row.at("model_size").get<std::uint64_t>(), 10'000'000u);
    EXPECT_EQ(row.at("model_n_params"), 16260352);
    EXPECT_GT(row.at("memory").at("file"), row.at("model_size"));
    EXPECT_GT(row.at("memory").at("peak_rss"), 1'000'000);
  }
  EXPECT_EQ(json[0].at("test"), "pp16");
  EXPECT_EQ(json[1].at("n_gen"), 4);
}

TEST(CliBench, BehindTokensThatTheContextHas) {
  const auto outcome = mlxn({"bench", "-m", dense_model(), "-p", "16", "-n", "4", "-d", "0,40", "-r", "2", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::vector<std::string> tests;
  std::vector<int> depths;
  for (const auto& row : outcome.json()) {
    tests.push_back(row.at("test"));
    depths.push_back(row.at("n_depth"));
  }
  EXPECT_THAT(tests, testing::ElementsAre("pp16", "tg4", "pp16 @ d40", "tg4 @ d40"));
  EXPECT_THAT(depths, testing::ElementsAre(0, 0, 40, 40));
  const auto profile = mlxn({"bench", "-m", dense_model(), "-p", "0", "-n", "3", "-d", "20", "-r", "1", "--profile"});
  EXPECT_THAT(profile.out, HasSubstr("tg3 @ d20 on ")) << profile.err;
}

TEST(CliBench, EveryFormatOfMatmulWithinItsContract) {
  const auto outcome = mlxn({"bench", "--op", "matmul", "--type", "all", "--n", "65", "--k", "512", "--m", "1,3,20",
                             "-r", "1", "-t", "1,2", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto json = outcome.json();
  ASSERT_EQ(json.size(), weight_formats().size() * 3 * 2);
  for (const auto& row : json) {
    EXPECT_LE(row.at("error").get<double>(), 3e-5) << row;
    EXPECT_GT(row.at("error").get<double>(), 0) << row;
    EXPECT_GT(row.at("microseconds").get<double>(), 0);
    EXPECT_GT(row.at("floor_microseconds").get<double>(), 0);
    EXPECT_GT(row.at("weight_gb_per_second").get<double>(), 0);
    EXPECT_GT(row.at("gflops").get<double>(), 0);
    EXPECT_THAT(row.at("kernel").get<std::string>(), HasSubstr("cpu."));
  }
}

TEST(CliBench, PrecisionBoundsTheError) {
  for (const auto& [precision, bound] : {std::pair("auto", 3e-5), {"full", 3e-5}, {"half", 1e-3}, {"int8", 1.5e-2}}) {
    for (const char* op : {"matmul", "matmul_id"}) {
      const auto outcome =
          mlxn({"bench", "--op", op,  "--type",    "q4_k", "--n",     "64", "--k",         "512",     "--m",
                "1,40",  "-r",   "1", "--experts", "4",    "--top-k", "2",  "--precision", precision, "--json"});
      EXPECT_EQ(outcome.code, 0) << outcome.err;
      for (const auto& row : outcome.json()) {
        EXPECT_LE(row.at("error").get<double>(), bound) << row;
        EXPECT_EQ(row.at("precision"), precision);
      }
    }
    if (kSlow && precision != std::string_view("int8")) continue;
    const auto model = mlxn({"bench", "-m", dense_model(), "-p", "8", "-n", "2", "-r", "1", "--precision", precision});
    EXPECT_EQ(model.code, 0) << model.err;
  }
}

TEST(CliBench, WeightsOfLessThanAWord) {
  const auto outcome =
      mlxn({"bench", "--op", "matmul", "--type", "f16", "--n", "1", "--k", "1", "--m", "1", "-r", "1", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.json().size(), 1u);
}

TEST(CliBench, MatmulIdAndTable) {
  const Arguments arguments = {"bench", "--op", "matmul_id", "--experts", "8",   "--top-k", "2",  "--type", "q4_k",
                               "--n",   "64",   "--k",       "256",       "--m", "1,40",    "-r", "1"};
  const auto table = mlxn(arguments);
  EXPECT_EQ(table.code, 0) << table.err;
  for (const char* part : {"GB/s", "GFLOP/s", "kernel", "matmul_id", "q4_K"}) EXPECT_THAT(table.out, HasSubstr(part));
  auto with_json = arguments;
  with_json.push_back("--json");
  const auto json = mlxn(with_json).json();
  ASSERT_EQ(json.size(), 2u);
  for (const auto& row : json) EXPECT_LE(row.at("error").get<double>(), 3e-5) << row;
}

TEST(CliBench, ProfileOfEveryCommand) {
  for (const auto& path : {dense_model(), moe_model()}) {
    if (kSlow && path == moe_model()) break;
    const Arguments arguments = {"bench", "-m", path, "--profile", "-p", "20", "-n", "3", "-r", "1", "-t", "2"};
    const auto table = mlxn(arguments);
    EXPECT_EQ(table.code, 0) << table.err;
    for (const char* part : {"pp20 on ", "tg3 on ", "limits: ", "GB/s", "of limit", "| mat_vec", "m = 20"})
      EXPECT_THAT(table.out, HasSubstr(part));
    auto with_json = arguments;
    with_json.push_back("--json");
    const auto json = mlxn(with_json).json();
    ASSERT_EQ(json.size(), 2u);
    std::uint64_t weights = 0;
    for (const auto& test : json) {
      double sum = 0;
      for (const auto& row : test.at("commands")) {
        sum += row.at("seconds").get<double>();
        EXPECT_GT(row.at("calls"), 0);
        EXPECT_GT(row.at("bytes"), 0);
        EXPECT_GT(row.at("fraction_of_limit"), 0);
        const std::string op = row.at("op");
        EXPECT_EQ(row.at("operations") > 0, op.starts_with("mat_") || op == "attention") << row;
        if (test.at("test") == "tg3" && op == "mat_vec") weights += row.at("bytes").get<std::uint64_t>() / 3;
      }
      EXPECT_NEAR(test.at("seconds_as_single_commands").get<double>(), sum, 1e-9);
      EXPECT_GT(test.at("seconds"), 0);
    }
    // A token reads every weight of a dense model once.
    if (path == dense_model()) {
      EXPECT_NEAR(static_cast<double>(weights), 10.5e6, 1e6);
    }
  }
}

TEST(CliBench, LimitsOfTheMachine) {
  const auto outcome = mlxn({"bench", "--limits", "-t", "1,2", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  std::map<std::string, int> rows;
  for (const auto& row : outcome.json()) {
    const bool read = row.at("limit") == "read";
    const std::string threads = std::to_string(row.at("threads").get<int>());
    ++rows[read ? "read " + threads : row.at("isa").get<std::string>() + " " + threads];
    EXPECT_GT(row.at(read ? "bytes_per_second" : "operations_per_second").get<double>(), 1e8) << row;
  }
  EXPECT_EQ(rows["read 1"], 1);
  EXPECT_EQ(rows["read 2"], 1);
#if defined(__x86_64__)
  EXPECT_EQ(rows["avx2 1"], __builtin_cpu_supports("avx2") ? 3 : 0);
  EXPECT_EQ(rows["avx512 2"], __builtin_cpu_supports("avx512bw") ? 3 : 0);
#endif
  const auto table = mlxn({"bench", "--limits", "-t", "1"});
  for (const char* part : {"read, GB/s", "1 thread |"}) EXPECT_THAT(table.out, HasSubstr(part));
}

TEST(CliBench, WrongUsageAndBadInput) {
  for (const Arguments& more : std::vector<Arguments>{{},
                                                      {"--op", "conv"},
                                                      {"--limits", "--op", "matmul"},
                                                      {"--limits", "-m", dense_model()},
                                                      {"--limits", "--backend", "emulator"},
                                                      {"--profile", "--op", "matmul"},
                                                      {"--op", "matmul", "-n", "64"},
                                                      {"-m", dense_model(), "--n", "64"},
                                                      {"--limits", "--type", "q8_0"},
                                                      {"--op", "matmul", "--precision", "int4"},
                                                      {"--op", "matmul", "-m", dense_model()},
                                                      {"--op", "matmul", "--type", "q9"},
                                                      {"--op", "matmul", "--type", "q4_k", "--k", "100"},
                                                      {"--op", "matmul", "--n", "0"},
                                                      {"--op", "matmul", "--m", "0"},
                                                      {"--op", "matmul", "--m", ""},
                                                      {"--op", "matmul", "--m", "1,-1"},
                                                      {"--op", "matmul", "-r", "0"},
                                                      {"--op", "matmul", "-t", "-1"},
                                                      {"-m", dense_model(), "-p", "0", "-n", "0"},
                                                      {"-m", dense_model(), "-p", "-1"},
                                                      {"-m", dense_model(), "-b", "16385"},
                                                      {"-m", dense_model(), "-n", "nan"}}) {
    Arguments arguments = {"bench"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto outcome = mlxn(arguments);
    EXPECT_EQ(outcome.code, 2) << testing::PrintToString(arguments) << outcome.err;
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  }
  for (const Arguments& more :
       std::vector<Arguments>{{"-m", "/dev/zero"},
                              {"-m", dense_model(), "-p", "100000"},
                              {"--op", "matmul", "--m", "1000000", "--n", "4000000", "--k", "256"},
                              {"--op", "matmul_id", "--n", "4000000", "--k", "4194304"}}) {
    Arguments arguments = {"bench"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto outcome = mlxn(arguments);
    EXPECT_EQ(outcome.code, 1) << testing::PrintToString(arguments) << outcome.err;
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  }
}

}  // namespace
}  // namespace mlx_native::test
