#include "cli/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <stdexcept>
#include <thread>

namespace mlx_native::test {

namespace {

std::string text_of(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return {};
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

Mlxn::Mlxn(std::vector<std::string> arguments, const std::filesystem::path& stdout_path,
           const std::string& redirections, bool inherits_signals) {
  arguments.insert(arguments.begin(), MLXN_TOOL);
  if (!redirections.empty())
    arguments.insert(arguments.begin(), {"/bin/sh", "-c", "exec \"$0\" \"$@\" " + redirections});
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  const std::string out = stdout_path.empty() ? (dir_ / "out").string() : stdout_path.string();
  const std::string err = (dir_ / "err").string();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  sigaddset(&defaults, SIGTERM);
  sigaddset(&defaults, SIGHUP);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  if (!inherits_signals) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  const int failure = ::posix_spawn(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw std::runtime_error(std::string("cannot run " MLXN_TOOL ": ") + std::strerror(failure));
}

Mlxn::~Mlxn() {
  if (reaped_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, &status_, 0);
}

bool Mlxn::ended() {
  if (!reaped_) reaped_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
  return reaped_;
}

bool Mlxn::wait_for_output(std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!ended() && std::chrono::steady_clock::now() < end) {
    if (!text_of(dir_ / "out").empty()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

void Mlxn::signal(int number) const { ::kill(pid_, number); }

Outcome Mlxn::wait(std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!ended() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  if (!reaped_) {
    ::kill(pid_, SIGKILL);
    reaped_ = ::waitpid(pid_, &status_, 0) == pid_;
  }
  Outcome outcome;
  outcome.code = WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
  outcome.out = text_of(dir_ / "out");
  outcome.err = text_of(dir_ / "err");
  return outcome;
}

}  // namespace mlx_native::test
