#include "interrupt.h"

#include <csignal>
#include <initializer_list>

namespace mlxn {

namespace {

volatile std::sig_atomic_t requested_signal = 0;

extern "C" void remember(int signal) { requested_signal = signal; }

}  // namespace

Interrupt::Interrupt() {
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction inherited = {};
    if (sigaction(signal, nullptr, &inherited) == 0 && inherited.sa_handler != SIG_IGN)
      sigaction(signal, &action, nullptr);
  }
}

bool Interrupt::requested() const { return requested_signal != 0; }
int Interrupt::exit_code() const { return 128 + requested_signal; }

}  // namespace mlxn
