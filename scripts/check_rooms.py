#!/usr/bin/env python3
"""Checks the rules of the house (docs/design.md, section 2) that a compiler does not see.

- Includes run downwards only: a room of src/ includes the rooms listed for it and public headers.
- models/ (but for error values), tools/ and examples/ see only include/mlx_native; public headers see only each other.
- Sources are ASCII, start headers with #pragma once, and stay under 600 lines.

Prints one line per breach; exits 1 where there is one.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# room -> the rooms, or single headers, that it may include. Tests (*_test.cpp) may include anything.
ROOMS = {
    "fmt": [],
    "core": [],
    "formats": ["core"],
    "args": ["core", "formats"],
    "reference": ["core", "formats"],
    "runtime": ["core", "formats", "args"],
    "files": ["core", "formats", "runtime"],
    "ops": ["core", "formats", "args", "runtime"],
    "cpu": ["core", "formats", "args", "runtime"],
    "gpu/kernels": ["core", "formats", "args"],
    "gpu": ["core", "formats", "args", "runtime"],
    "cuda": ["core", "formats", "args", "runtime", "gpu"],
    "emulator": ["core", "formats", "args", "runtime", "gpu"],
    # How to write an error and multiply sizes is shared; what there is to compute with comes from the public API alone.
    "models": ["core/error.h", "core/checked.h"],
    "tools": [],
    "examples": [],
    "public": [],
}
# The one table that names the backends.
EXTRA = {"src/runtime/backends.cpp": ["cpu/backend.h", "cuda/backend.h", "emulator/backend.h"]}
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".inc"}
TEXT = SUFFIXES | {".py", ".sh", ".cmake", ".txt", ".md", ".json"}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
MAX_LINES = 600


def room_of(path):
    parts = path.parts
    if parts[:3] == ("src", "gpu", "kernels"):
        return "gpu/kernels"
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    if parts[0] == "include":
        return "public"
    return parts[0] if parts[0] in ("tools", "examples") else None


def breaches(path):
    data = (ROOT / path).read_bytes()
    lines = data.decode("ascii", "replace").splitlines()
    if path.suffix in TEXT and path.parts[:2] != ("tests", "models"):
        for number, line in enumerate(data.split(b"\n"), 1):
            if not line.isascii():
                yield number, "not ASCII"
    if path.suffix not in SUFFIXES:
        return
    if path.suffix == ".h" and "#pragma once" not in lines:
        yield 1, "a header without #pragma once"
    if len(lines) > MAX_LINES:
        yield len(lines), f"more than {MAX_LINES} lines"
    room = room_of(path)
    if room is None or path.stem.endswith("_test"):
        return
    if room not in ROOMS:
        yield 1, f"room {room} is not listed in scripts/check_rooms.py"
        return
    allowed = ROOMS[room] + EXTRA.get(str(path), []) + ["mlx_native"]
    if room != "public":
        allowed.append(room)
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(1)
        if "/" not in target and path.parts[0] == "src":
            yield number, f'"{target}": write the path from src/'
        elif "/" in target and not any(target.startswith(a + "/") or target == a for a in allowed):
            yield number, f'{room}/ must not include "{target}"'


def main():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = 0
    for name in sorted(files.stdout.splitlines()):
        path = pathlib.PurePath(name)
        if not (ROOT / path).is_file():
            continue
        for number, text in breaches(path):
            print(f"{path}:{number}: {text}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
