#!/usr/bin/env python3
"""Runs a GoogleTest program as a few processes of many tests each: starting one costs more than most tests do, most of
all under sanitizers and on an emulated processor.

  scripts/run_tests.py [--jobs N] [--timeout SECONDS] [--filter F] COMMAND...

Prints what each failed test wrote and the tests that took longest, and ends in "lane: N passed, N failed". A test that was
listed and has no result, because its process died or ran out of time, has failed.
"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

SHARDS = 24  # the same on every machine, so that every test always has the same neighbours
RESULT = re.compile(r"^\[ *(OK|FAILED|SKIPPED) *\] (\S+?),?(?: .*)?\((\d+) ms\)$")


def listed(command):
    names, suite = [], ""
    text = subprocess.run([*command, "--gtest_list_tests"], capture_output=True, text=True, check=True).stdout
    for line in text.splitlines():
        name = line.split("#")[0].rstrip()
        if name.startswith("  "):
            names.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    return [name for name in names if not re.search(r"(^|[./])DISABLED_", name)]


def run_shard(command, shard, timeout):
    environment = {**os.environ, "GTEST_TOTAL_SHARDS": str(SHARDS), "GTEST_SHARD_INDEX": str(shard)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", start_new_session=True) as process:
        try:
            return process.communicate(timeout=timeout)[0], process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return process.communicate()[0] + f"\n{timeout} s are over", "timeout"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=int, default=600, help="of one process")
    parser.add_argument("--filter", default="*", help="as --gtest_filter")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = [*options.command, f"--gtest_filter={options.filter}", "--gtest_color=no"]

    wanted, results, died = listed(command), {}, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for output, code in pool.map(lambda shard: run_shard(command, shard, options.timeout), range(SHARDS)):
            said = []
            for line in output.splitlines():
                if line.startswith("[ RUN      ]"):
                    said = []
                said.append(line)
                found = RESULT.match(line)
                if found:
                    outcome, name, milliseconds = found.groups()
                    results[name] = (outcome, int(milliseconds))
                    if outcome == "FAILED":
                        print("\n".join(said))
                    said = []
            print(f"{len(results)} of {len(wanted)} tests", flush=True)
            if code != 0 and "FAILED" not in output:
                died += 1
                findings = [line for line in output.splitlines() if line.startswith("=========")]  # by compute-sanitizer
                print(*(findings or said)[-200:], f"a process ended with {code}", sep="\n")

    for name in wanted:
        if name not in results:
            print(f"no result: {name}")
    counts = {outcome: sum(r[0] == outcome for r in results.values()) for outcome in ("OK", "SKIPPED", "FAILED")}
    failed = max(counts["FAILED"] + len(set(wanted) - set(results)), 1 if died or not wanted else 0)
    print("longest:")
    for name, (_, milliseconds) in sorted(results.items(), key=lambda item: -item[1][1])[:25]:
        print(f"{milliseconds / 1000:8.2f} s {name}")
    print(f"{counts['SKIPPED']} skipped, {sum(r[1] for r in results.values()) / 1000:.0f} s in all tests")
    print(f"lane: {counts['OK']} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
