# Arm binaries on an x86 Debian: g++-aarch64-linux-gnu builds them, qemu-user runs them.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# Every extension that qemu knows. It needs no Arm libraries: the preset links statically.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max)
# Header-only use of fmt, whose package file lies among the host's libraries.
file(GLOB fmt_DIR /usr/lib/*/cmake/fmt)
