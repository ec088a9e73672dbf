#pragma once

namespace mlxn {

/// From its construction to the end of the process, SIGINT (Ctrl-C), SIGTERM and SIGHUP (a terminal that closes) set a
/// flag for the work to end by itself; a second one ends the process at once. What the process was started to ignore,
/// as a shell's jobs in the background ignore Ctrl-C and those of nohup SIGHUP, stays ignored.
class Interrupt {
 public:
  Interrupt();
  bool requested() const;
  /// As shells report of a process that the signal ended: 130 for Ctrl-C.
  int exit_code() const;
};

}  // namespace mlxn
