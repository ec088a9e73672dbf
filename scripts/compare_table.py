#!/usr/bin/env python3
"""Tables of docs/performance_cpu.md from what `compare --json` wrote: scripts/compare_table.py FILE.json...

One table per number of threads, and for products routed to experts; a row per type and side, a column per m. A cell is
the rate (m = 1: GB/s of weights, else GFLOP/s) and its ratio to the best peer in the same rounds. Where several shapes
were measured it is that of the shape with the lowest ratio; limits are from the lowest to the highest of all types.
"""

import collections
import json
import sys

OURS = ("full", "int8", "auto")
TYPES = ("q4_0", "q8_0", "q4_K", "q5_K", "q6_K", "f16", "bf16", "f32")


def rate(cell, side):
    return cell["sides"][side]["gb_per_s" if cell["m"] == 1 else "gflop_per_s"]


def best_peer(cell):
    return max((side for side in cell["sides"] if side not in OURS), key=lambda side: rate(cell, side))


def ratio(cell, side):
    return rate(cell, side) / rate(cell, best_peer(cell))


def span(values, text):
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"


def limit(cell):
    side = next(side for side in OURS if side in cell["sides"])
    return rate(cell, side) / cell["sides"][side]["of_limit"]


def table(cells):
    rows = sorted({cell["m"] for cell in cells})
    print("| type | side | " + " | ".join(f"m = {m}" for m in rows) + " |")
    print("|---|---|" + "---:|" * len(rows))
    for name in sorted({cell["type"] for cell in cells}, key=TYPES.index):
        of_type = [cell for cell in cells if cell["type"] == name]
        for side in (side for side in OURS if side in of_type[0]["sides"]):
            worst = [min((c for c in of_type if c["m"] == m), key=lambda c: ratio(c, side), default=None) for m in rows]
            texts = [f"{rate(c, side):.0f} x{ratio(c, side):.2f}" if c else "" for c in worst]
            print(f"| {name} | {side} | " + " | ".join(texts) + " |")
    limits = [span([limit(c) for c in cells if c["m"] == m], "{:.0f}".format) for m in rows]
    print("| limit | | " + " | ".join(limits) + " |")

    def error(side):
        return span([c["sides"][side]["error"] for c in cells if side in c["sides"]], "{:.0e}".format)

    best = collections.Counter(best_peer(cell) for cell in cells)
    ours = ", ".join(f"{side} {error(side)}" for side in OURS if any(side in c["sides"] for c in cells))
    peers = ", ".join(f"{side} in {n} of {len(cells)} cells (E {error(side)})" for side, n in best.most_common())
    print(f"\nE: {ours}. Best peer: {peers}.")


def main():
    cells = [cell for path in sys.argv[1:] for cell in json.load(open(path))]
    for routed in sorted({(c.get("experts"), c.get("top"), c["n"], c["k"]) if "experts" in c else () for c in cells}):
        for threads in sorted({cell["threads"] for cell in cells}):
            chosen = [c for c in cells if c["threads"] == threads and
                      ((c.get("experts"), c.get("top"), c["n"], c["k"]) if "experts" in c else ()) == routed]
            if not chosen:
                continue
            shapes = sorted({f"{c['n']}x{c['k']}" for c in chosen})
            where = f", {routed[1]} of {routed[0]} experts" if routed else ""
            print(f"\n{threads} thread{'s' if threads > 1 else ''}, {', '.join(shapes)}{where}:\n")
            table(chosen)


if __name__ == "__main__":
    main()
