// Runs the built command as a process.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/temp_dir.h"

namespace mlx_native::test {

struct Outcome {
  int code = 0;  ///< exit code; -N where signal N ended it, -SIGKILL where it took too long
  std::string out, err;

  /// Lines of stderr.
  std::size_t error_lines() const { return static_cast<std::size_t>(std::count(err.begin(), err.end(), '\n')); }
  /// Discarded where stdout is not JSON.
  nlohmann::json json() const { return nlohmann::json::parse(out, nullptr, false); }
};

/// mlxn with these arguments, stdin empty, without a terminal. Killed when it goes out of scope before wait().
class Mlxn {
 public:
  /// Stdout goes to `stdout_path` where one is given, and is not in the outcome then. `redirections` are the shell's:
  /// "2>/dev/full <&-". SIGINT, SIGTERM and SIGHUP mean what they mean by default, even where who started the tests
  /// ignores them (as a shell does in the background), unless `inherits_signals`.
  explicit Mlxn(std::vector<std::string> arguments, const std::filesystem::path& stdout_path = {},
                const std::string& redirections = {}, bool inherits_signals = false);
  Mlxn(const Mlxn&) = delete;
  Mlxn& operator=(const Mlxn&) = delete;
  ~Mlxn();

  /// False where it ended or `limit` passed before it had written anything to stdout.
  bool wait_for_output(std::chrono::seconds limit);
  void signal(int number) const;
  Outcome wait(std::chrono::seconds limit = std::chrono::seconds(120));

 private:
  bool ended();

  TempDir dir_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool reaped_ = false;
};

inline Outcome mlxn(std::vector<std::string> arguments, const std::filesystem::path& stdout_path = {}) {
  return Mlxn(std::move(arguments), stdout_path).wait();
}

inline Outcome mlxn_by_shell(std::vector<std::string> arguments, const std::string& redirections) {
  return Mlxn(std::move(arguments), {}, redirections).wait();
}

inline std::string dense_model() { return MLXN_SOURCE_DIR "/share/models/docs-dense.q4_k_m.gguf"; }
inline std::string moe_model() { return MLXN_SOURCE_DIR "/share/models/docs-moe.q4_k_m.gguf"; }

}  // namespace mlx_native::test
