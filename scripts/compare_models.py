#!/usr/bin/env python3
"""Tokens per second of whole models beside other programs, in alternation: `mlxn bench` and any `llama-bench`.

  scripts/compare_models.py -m F.gguf -t 1,4 --ours full=build/release/bin/mlxn \\
      --ours 'int8=build/release/bin/mlxn --precision int8' \\
      --peer ik=IK/bin/llama-bench --peer 'ik-rtr=IK/bin/llama-bench -rtr 1'

A side is NAME=COMMAND. Each round runs every program once per model and number of threads. A cell is the median of its
tokens per second over the rounds, in brackets ours times the best peer's; the row "memory" has the largest resident
memory of a run in GB (pages of a mapped file count).
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile


def run(command):
    """Standard output of a command that succeeds, and its peak resident memory in bytes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        out.seek(0)
        err.seek(0)
        if status != 0:
            sys.exit(f"{shlex.join(command)} failed:\n{err.read().decode()[-2000:]}")
        return out.read().decode(), usage.ru_maxrss * 1024


def print_row(model, threads, test, cells):
    print("| " + " | ".join([os.path.basename(model), threads, test, *cells]) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", action="append", required=True)
    parser.add_argument("-p", type=int, default=512, help="tokens of the prompt; 0: none")
    parser.add_argument("-n", type=int, default=128, help="tokens to generate; 0: none")
    parser.add_argument("-t", "--threads", default="1,4")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--ours", action="append", required=True, help="NAME=COMMAND, may hold options of mlxn bench")
    parser.add_argument("--peer", action="append", required=True, help="NAME=COMMAND of a llama-bench")
    parser.add_argument("--json", help="file to write")
    options = parser.parse_args()

    sides = {}
    for ours in options.ours:
        name, _, command = ours.partition("=")
        program, *extra = shlex.split(command)
        sides[name] = [program, "bench", *extra, "--json"]
    peers = [peer.partition("=")[0] for peer in options.peer]
    for peer in options.peer:
        name, _, command = peer.partition("=")
        sides[name] = [*shlex.split(command), "-o", "json"]

    print("| model | threads | test | " + " | ".join(sides) + " |\n|---|---:|---|" + "---:|" * len(sides), flush=True)
    rows = []
    for model in options.model:
        for threads in options.threads.split(","):
            rates, peak = {}, {}
            for _ in range(options.rounds):
                for name, command in sides.items():
                    arguments = ["-m", model, "-p", str(options.p), "-n", str(options.n), "-t", threads, "-r", "1"]
                    text, bytes_used = run(command + arguments)
                    peak[name] = max(peak.get(name, 0), bytes_used)
                    for entry in json.loads(text[text.index("["):]):
                        # Builds of llama-bench before 2025 have no "test".
                        test = f"pp{entry['n_prompt']}" if entry["n_prompt"] else f"tg{entry['n_gen']}"
                        rates.setdefault(test, {}).setdefault(name, []).append(entry["avg_ts"])
            for test, by_side in rates.items():
                medians = {name: statistics.median(values) for name, values in by_side.items()}
                rows.append({"model": os.path.basename(model), "threads": int(threads), "test": test,
                             "tokens_per_second": medians, "peak_bytes": peak})
                best = max(medians[name] for name in peers)
                print_row(model, threads, test, [f"{rate:.1f}" if name in peers else f"{rate:.1f} ({rate / best:.2f})"
                                                 for name, rate in medians.items()])
            print_row(model, threads, "memory", [f"{peak[name] / 1e9:.2f}" for name in sides])
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
