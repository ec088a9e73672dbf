// Exit codes and messages: 0 success, 1 bad input, 2 wrong usage; one line on stderr for both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <sstream>
#include <string>

#include "cli/process.h"

namespace mlx_native::test {
namespace {

using testing::HasSubstr;

void expect_failure(const Outcome& outcome, int code, const std::string& context) {
  EXPECT_EQ(outcome.code, code) << context << "\n" << outcome.err;
  EXPECT_EQ(outcome.error_lines(), 1u) << context << "\n" << outcome.err;
  EXPECT_TRUE(outcome.err.starts_with("mlxn")) << outcome.err;
  EXPECT_EQ(outcome.err.find('\x1b'), std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.out, "") << context;
}

std::string joined(const std::vector<std::string>& arguments) {
  std::string text;
  for (const auto& argument : arguments) text += argument + " ";
  return text;
}

TEST(CliUsage, HelpAndVersion) {
  const auto help = mlxn({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* command : {"devices", "inspect", "generate", "perplexity", "quantize", "synth", "bench"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
    const auto own = mlxn({command, "-h"});
    EXPECT_EQ(own.code, 0);
    EXPECT_THAT(own.out, HasSubstr(std::string("mlxn ") + command));
    EXPECT_EQ(own.err, "");
    std::istringstream lines(help.out + own.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << command << ": " << line;
  }
  EXPECT_THAT(mlxn({"--version"}).out, testing::MatchesRegex("mlxn [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(CliUsage, WrongUsageIsTwo) {
  const std::string model = dense_model();
  const std::vector<std::vector<std::string>> cases = {
      {},
      {"dance"},
      {"--dance"},
      {"devices", "extra"},
      {"inspect"},
      {"inspect", model, "extra"},
      {"inspect", model, "--no-such"},
      {"quantize", model},
      {"quantize", model, "x.gguf", "q9_z"},
      {"quantize", model, "x.gguf", ""},
      {"quantize", model, "x.gguf", "q8_0", "-t", "-1"},
      {"quantize", model, "x.gguf", "q8_0", "-t", ""},
      {"quantize", model, "x.gguf", "q8_0", "-t", "1e3"},
      {"quantize", model, "x.gguf", "q8_0", "-t", "0x4"},
      {"quantize", model, "x.gguf", "q8_0", "-t", "nan"},
      {"quantize", model, "x.gguf", "q8_0", "-t", "99999999999999999999"},
      {"quantize", model, "x.gguf", "q8_0", "extra"},
      {"quantize", model, "x.gguf", "q8_0", "-t"},
  };
  for (const auto& arguments : cases) expect_failure(mlxn(arguments), 2, joined(arguments));
}

TEST(CliUsage, NamesWhatItDoesNotKnow) {
  EXPECT_THAT(mlxn({"--dance"}).err, HasSubstr("no option --dance"));
  EXPECT_THAT(mlxn({"dance"}).err, HasSubstr("no subcommand dance"));
  EXPECT_THAT(mlxn({"synth", "-t", "x"}).err, HasSubstr("--threads: needs a whole number"));
  EXPECT_THAT(mlxn({"generate", "-n", "x"}).err, HasSubstr("--n-predict: needs a whole number"));
  for (const char* command : {"generate", "perplexity", "bench"})
    EXPECT_THAT(mlxn({command, "-m", dense_model(), "-ngl", "99"}).err, HasSubstr("--backend"));
  EXPECT_THAT(mlxn({"generate", "-m", "x", "-p", "x", "-ctk", "f16"}).err, HasSubstr("no -ctk"));
  EXPECT_THAT(mlxn({"generate", "-m", "x", "-p", "x", "-fa"}).err, HasSubstr("no -fa"));
  EXPECT_THAT(mlxn({"generate", "--temp", "-inf"}).err, HasSubstr("--temp: needs a number"));
}

TEST(CliUsage, OfAnOptionGivenTwiceTheLastCounts) {
  const auto outcome =
      mlxn({"generate", "-m",          "/absent", "-m",          dense_model(), "-p",        "No",    "-p",
            "The",      "-n",          "50",      "--predict",   "3",           "--temp",    "1",     "--temp",
            "0",        "-t",          "2",       "-t",          "1",           "--kv",      "f16",   "--kv",
            "f32",      "--precision", "int8",    "--precision", "full",        "--backend", "metal", "--backend",
            "cpu",      "-c",          "8",       "-c",          "16",          "--json",    "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.json().at("tokens").size(), 3u);
  const auto list = mlxn({"generate", "-m", dense_model(), "--tokens", "1", "--tokens", "2"});
  EXPECT_EQ(list.code, 2) << "which of the lists, or both?";
}

TEST(CliUsage, AnErrorThatNobodyHearsEndsNothing) {
  for (const char* stderr_to : {"2>/dev/full", "2>&-"}) {
    EXPECT_EQ(mlxn_by_shell({"dance"}, stderr_to).code, 2);
    EXPECT_EQ(mlxn_by_shell({"inspect", "/dev/null"}, stderr_to).code, 1);
    const auto outcome = mlxn_by_shell({"generate", "-m", dense_model(), "-p", "The", "-n", "2", "-t", "1"}, stderr_to);
    EXPECT_EQ(outcome.code, 0);
    EXPECT_TRUE(outcome.out.starts_with("The")) << outcome.out;
  }
}

// Files take the first descriptor that is free.
TEST(CliUsage, NoFileTakesThePlaceOfAClosedOne) {
  const auto outcome = mlxn_by_shell({"generate", "-m", dense_model(), "-f", "-"}, "<&-");
  expect_failure(outcome, 1, "stdin is closed");
  EXPECT_THAT(outcome.err, HasSubstr("cannot read -"));
  const TempDir dir;
  const std::string model = (dir / "model").string();
  ASSERT_EQ(mlxn({"synth", "--arch", "qwen3", "--preset", "tiny", "--type", "f16", "-o", model}).code, 0);
  const auto quantized = [&](const char* name, const char* redirections) {
    const std::string path = (dir / name).string();
    mlxn_by_shell({"quantize", model, path, "q8_0"}, redirections);
    return read_file(path);
  };
  EXPECT_TRUE(quantized("closed", "<&- >&- 2>&-") == quantized("open", ">/dev/null"));
}

TEST(CliUsage, WhatIsNoModelIsOne) {
  const TempDir dir;
  const std::string fifo = (dir / "fifo").string(), empty = (dir / "empty").string(), text = (dir / "text").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  write_file(empty, {});
  write_file(text, std::vector<std::uint8_t>(100, 'x'));
  const auto whole = read_file(dense_model());
  const std::string cut = (dir / "cut.gguf").string();
  write_file(cut, std::span(whole).first(whole.size() / 2));
  const std::string evil = (dir / "\x1b[31mevil\n.gguf").string();
  for (const std::string& path : {fifo, empty, text, cut, evil, (dir / "absent").string(), (dir / "").string(),
                                  std::string("/dev/zero"), std::string("/dev/null"), std::string("")}) {
    for (const auto& arguments :
         std::vector<std::vector<std::string>>{{"inspect", path}, {"quantize", path, (dir / "o").string(), "q8_0"}})
      expect_failure(mlxn(arguments), 1, joined(arguments));
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "o"));
  EXPECT_THAT(mlxn({"inspect", ""}).err, HasSubstr("cannot open \"\": an empty path"));
  EXPECT_THAT(mlxn({"generate", "-m", dense_model(), "-f", ""}).err, HasSubstr("cannot read \"\": an empty path"));
  EXPECT_THAT(mlxn({"perplexity", "-m", dense_model(), "-f", "-"}).err, HasSubstr("standard input has 0 tokens"));
}

TEST(CliUsage, FullDiskIsOne) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"devices"},
                                                                     {"devices", "--json"},
                                                                     {"inspect", dense_model()},
                                                                     {"inspect", dense_model(), "--json"},
                                                                     {"--version"},
                                                                     {"--help"},
                                                                     {"quantize", "--help"}}) {
    const auto outcome = mlxn(arguments, "/dev/full");
    expect_failure(outcome, 1, joined(arguments));
    EXPECT_THAT(outcome.err, HasSubstr("No space left"));
  }
}

}  // namespace
}  // namespace mlx_native::test
