#include "emulator/fiber.h"

#include <sys/mman.h>

#include "emulator/sanitizer.h"

namespace mlx_native::emulator {

namespace {
constexpr std::size_t kGuard = 4096;
// Sanitized frames are several times larger.
constexpr std::size_t kStack = kAsan || kTsan ? 256 << 10 : 64 << 10;

thread_local Fiber* starting = nullptr;
}  // namespace

#if defined(__x86_64__)

// Saves the registers that a callee must keep, changes stacks, restores them.
extern "C" void mlxn_emulator_switch(void** save, void* to);
asm(R"(
.text
.globl mlxn_emulator_switch
.hidden mlxn_emulator_switch
.type mlxn_emulator_switch, @function
mlxn_emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size mlxn_emulator_switch, .-mlxn_emulator_switch
)");

void Fiber::switch_context(Context& from, Context& to) { mlxn_emulator_switch(&from.stack_pointer, to.stack_pointer); }

void Fiber::start(Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
  // As the switch leaves it: six registers, the address to return to, and no caller, which keeps the stack aligned.
  void** top = reinterpret_cast<void**>(stack_ + kGuard + kStack);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&Fiber::main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  own_.stack_pointer = top;
#else

void Fiber::switch_context(Context& from, Context& to) { swapcontext(&from.state, &to.state); }

void Fiber::start(Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
  getcontext(&own_.state);
  own_.state.uc_stack = {};
  own_.state.uc_stack.ss_sp = stack_ + kGuard;
  own_.state.uc_stack.ss_size = kStack;
  own_.state.uc_link = nullptr;
  makecontext(&own_.state, &Fiber::main, 0);
#endif
  fake_stack_ = nullptr;
#if MLXN_ASAN
  __asan_unpoison_memory_region(stack_ + kGuard, kStack);
#endif
}

Fiber::Fiber() {
  void* const memory =
      mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  mprotect(memory, kGuard, PROT_NONE);
  stack_ = static_cast<std::byte*>(memory);
#if MLXN_TSAN
  tsan_own_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  if (!stack_) return;
#if MLXN_TSAN
  __tsan_destroy_fiber(tsan_own_);
#endif
  munmap(stack_, kGuard + kStack);
}

void Fiber::main() {
  Fiber* const self = starting;
#if MLXN_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &self->caller_stack_, &self->caller_stack_size_);
#endif
  self->entry_(self->argument_);
  __builtin_trap();
}

void Fiber::resume() {
  starting = this;
#if MLXN_TSAN
  // Flag 1: a switch orders no memory. Only barriers do.
  tsan_caller_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_own_, 1);
#endif
#if MLXN_ASAN
  void* caller_fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&caller_fake_stack, stack_ + kGuard, kStack);
#endif
  switch_context(caller_, own_);
#if MLXN_ASAN
  __sanitizer_finish_switch_fiber(caller_fake_stack, nullptr, nullptr);
#endif
}

void Fiber::leave() {
#if MLXN_TSAN
  __tsan_switch_to_fiber(tsan_caller_, 1);
#endif
#if MLXN_ASAN
  __sanitizer_start_switch_fiber(&fake_stack_, caller_stack_, caller_stack_size_);
#endif
  switch_context(own_, caller_);
#if MLXN_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, &caller_stack_, &caller_stack_size_);
#endif
}

}  // namespace mlx_native::emulator
