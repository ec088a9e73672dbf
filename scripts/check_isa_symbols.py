#!/usr/bin/env python3
"""Proves that no code of one instruction set can run on a machine that lacks it.

Usage: check_isa_symbols.py (--isa NAME OBJECT...)... --rest OBJECT...
       check_isa_symbols.py --self-test COMPILER

What is compiled for an ISA may leave its objects in three ways, and all are closed:
- The linker keeps one copy of a weak symbol and lets all callers have it; a strong one anyone may call. So what the
  objects of an ISA define globally, weak or strong, must carry the ISA's namespace, mlx_native::cpu::ISA.
- What runs before main runs everywhere. So these objects have no static initialisers and no resolvers.
- Whoever asks for a symbol of a namespace gets that ISA's code. So no ISA asks for another's, and the rest of the library
  asks for `add_rows` alone, which cpu/kernels.cpp calls after a look at the processor.

Prints one line per breach; exits 1 where there is one. Any ELF, of any machine.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

NAMESPACE = "mlx_native::cpu::"
ENTRY = re.compile(r"(add_rows|probe)\(")  # `probe` is the tests'
RUN_AT_LOAD = re.compile(r"\.(preinit_array|init_array|ctors|fini_array|dtors)\b")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(objects):
    """(kind as nm prints it, demangled name) of the global symbols of all objects."""
    for line in output("nm", "-C", "-g", *objects).splitlines():
        found = re.match(r"[0-9a-f]* +([A-Za-z]) (.+)$", line)
        if found:
            yield found.groups()


def named_isas(symbol, isas):
    return [isa for isa in isas if f"{NAMESPACE}{isa}::" in symbol]


def breaches_of_isa(isa, objects, isas):
    for kind, symbol in symbols(objects):
        if kind in "Uwv":
            for other in named_isas(symbol, isas):
                if other != isa:
                    yield f"asks for {other}'s {symbol}"
        elif kind == "i":
            yield f"resolver that runs at load: {symbol}"
        elif isa not in named_isas(symbol, isas):
            yield f"{'weak' if kind in 'WVu' else 'strong'} symbol outside its namespace: {symbol}"
    for section in sorted(set(RUN_AT_LOAD.findall(output("readelf", "-SW", *objects)))):
        yield f"code that runs at load (section .{section})"


def breaches_of_rest(objects, isas):
    for _, symbol in symbols(objects):
        for isa in named_isas(symbol, isas):
            if not ENTRY.match(symbol.removeprefix(f"{NAMESPACE}{isa}::")):
                yield f"uses {symbol}"


def check(groups, rest):
    """One line per breach. `groups`: the objects of each ISA by name."""
    found = []
    for isa, objects in groups.items():
        found += sorted({f"{isa}: {breach}" for breach in breaches_of_isa(isa, objects, groups)})
    return found + sorted({f"the rest: {breach}" for breach in breaches_of_rest(rest, groups)})


def self_test(compiler):
    """Every rule sees the breach made for it, and nothing else."""
    of_a = "namespace mlx_native::cpu::a { %s }"
    of_b = "namespace mlx_native::cpu::b { %s }"
    inline = "inline int f(int x) { return 2 * x; }"
    cases = [  # of ISA a, of the rest, what is found
        (of_a % f"int add_rows(int x) {{ return x; }} {inline} int (*pointer())(int) {{ return f; }}",
         of_a % "int add_rows(int);" + "int g() { return mlx_native::cpu::a::add_rows(1); }", ""),
        (f"namespace {{ {inline} }}" + of_a % "int (*pointer())(int) { return f; }", "", ""),
        (inline + of_a % "int (*pointer())(int) { return f; }", "", "weak symbol outside its namespace: f("),
        ("int f(int x) { return x; }", "", "strong symbol outside its namespace: f("),
        (of_a % "int g(); int state = g();", "", "runs at load"),
        (of_b % "int f();" + of_a % "int g() { return b::f(); }", "", "asks for b's mlx_native::cpu::b::f("),
        (of_a % "int f() { return 1; }", of_a % "int f();" + "int g() { return mlx_native::cpu::a::f(); }",
         "the rest: uses mlx_native::cpu::a::f("),
    ]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:

        def compiled(name, text):
            source = Path(folder) / f"{name}.cpp"
            source.write_text(text)
            output(compiler, "-std=c++20", "-c", str(source), "-o", f"{source}.o")
            return [f"{source}.o"]

        for i, (isa, rest, wanted) in enumerate(cases):
            found = check({"a": compiled("a", isa), "b": compiled("b", "")}, compiled("rest", rest))
            good = len(found) == 1 and wanted in found[0] if wanted else not found
            failed += not good
            if not good:
                print(f"case {i}: wanted '{wanted}', found {found}")
    print(f"{len(cases)} cases, {failed} failed")
    return 1 if failed else 0


def main():
    if sys.argv[1:2] == ["--self-test"]:
        return self_test(sys.argv[2])
    groups, objects, rest = {}, None, []
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        if argument == "--isa":
            objects = groups.setdefault(next(arguments), [])
        elif argument == "--rest":
            objects = rest
        else:
            objects.append(argument)
    found = check(groups, rest)
    for breach in found:
        print(breach)
    print(", ".join(f"{isa}: {len(of)} objects" for isa, of in groups.items()), f"rest: {len(rest)}", sep=", ")
    print(f"{len(found)} breaches")
    return 1 if found or not rest or not all(groups.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
