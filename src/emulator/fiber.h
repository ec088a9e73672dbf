#pragma once

#include <cstddef>
#include <cstdint>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace mlx_native::emulator {

/// A stack of its own on which a function runs, left and resumed at will. One that never got its stack is not valid().
class Fiber {
 public:
  using Entry = void (*)(void* argument);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  bool valid() const { return stack_ != nullptr; }
  /// The next resume() calls entry(argument). Whatever the fiber was doing is dropped.
  void start(Entry entry, void* argument);
  /// Runs the fiber until it leaves.
  void resume();
  /// Called on the fiber: returns to resume(). The function must leave for good instead of returning.
  void leave();

 private:
  struct Context {
#if defined(__x86_64__)
    void* stack_pointer;
#else
    ucontext_t state;
#endif
  };
  static void main();
  static void switch_context(Context& from, Context& to);

  std::byte* stack_ = nullptr;
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  Context own_{}, caller_{};
  // The rest is the sanitizers'.
  [[maybe_unused]] const void* caller_stack_ = nullptr;
  [[maybe_unused]] std::size_t caller_stack_size_ = 0;
  [[maybe_unused]] void *tsan_own_ = nullptr, *tsan_caller_ = nullptr, *fake_stack_ = nullptr;
};

}  // namespace mlx_native::emulator
