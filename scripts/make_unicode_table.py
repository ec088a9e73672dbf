#!/usr/bin/env python3
"""Writes src/models/unicode_table.h: the classes of all code points as the places where the class changes.

Usage: python3.13 scripts/make_unicode_table.py > src/models/unicode_table.h
"""

import sys
import unicodedata

# Words are cut by the classes of this version. Python knows one version of Unicode: 3.13 this one.
UNICODE = "15.1.0"

OTHER, LETTER, NUMBER, SPACE = range(4)

# The property White_Space, which is what \s means in the tokenizers' regular expressions.
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def char_class(code: int) -> int:
    if code in WHITE_SPACE:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata.category(chr(code))[0], OTHER)


def main() -> None:
    if unicodedata.unidata_version != UNICODE:
        sys.exit(f"this Python knows Unicode {unicodedata.unidata_version}, the table is of {UNICODE}: run Python 3.13")
    runs = []
    previous = None
    for code in range(0x110000):
        current = char_class(code)
        if current != previous:
            runs.append(code << 2 | current)
        previous = current
    print(f"// Made by scripts/make_unicode_table.py from Unicode {UNICODE}. Not to be edited.")
    print("#pragma once\n\n#include <cstdint>\n\nnamespace mlx_native {\n")
    print("/// Ascending: first code point of a run << 2 | its CharClass.")
    print("// clang-format off")
    print("inline constexpr std::uint32_t kUnicodeRuns[] = {")
    for start in range(0, len(runs), 12):
        print("    " + ", ".join(f"0x{run:x}" for run in runs[start : start + 12]) + ",")
    print("};\n// clang-format on\n\n}  // namespace mlx_native")


main()
