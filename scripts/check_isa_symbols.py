#!/usr/bin/env python3
"""Checks that no code of one instruction set can be linked into another's.

Usage: check_isa_symbols.py ISA OBJECT...

The linker keeps one copy of a weak symbol. An inline function that was compiled for AVX-512 and is weak could become
the copy that a machine without AVX-512 runs. So whatever the objects of an ISA define weakly must carry the ISA's
namespace, mlx_native::cpu::ISA. Prints one line per breach; exits 1 where there is one.
"""

import subprocess
import sys


def main():
    isa, objects = sys.argv[1], sys.argv[2:]
    breaches = set()
    for path in objects:
        text = subprocess.run(["nm", "-C", "--defined-only", path], check=True, capture_output=True, text=True).stdout
        for line in text.splitlines():
            parts = line.split(maxsplit=2)
            if len(parts) == 3 and parts[1] in "WVu" and f"mlx_native::cpu::{isa}::" not in parts[2]:
                breaches.add(parts[2])
    for symbol in sorted(breaches):
        print(f"{isa}: weak symbol outside its namespace: {symbol}")
    print(f"{isa}: {len(objects)} objects, {len(breaches)} breaches")
    return 1 if breaches or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
