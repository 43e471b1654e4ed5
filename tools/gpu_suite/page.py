#!/usr/bin/env python3
"""page.py PAGE [RESULTS...] [--check]: docs/GPU.md of the text in page.md and of the JSON lines of suite.py. Only what ran on a GPU counts;
what ran on the stand-in driver is left out. With --check nothing is written: status 1 if PAGE is not what would be."""

import argparse
import fnmatch
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BAD = ("fail", "crash", "hang")
# What it is, where else it has run, and the tests whose names say that a GPU did it.
RAN = [
    ("leaf loops, all types and operations", "yes", "yes", ["every type and operation, gang*"]),
    ("lanes: every flat plan, cards, pairs", "yes", "yes", ["* gang", "* gang in place"]),
    ("oneshot: every type and operation", "yes", "int32, float32", ["every type and operation, gang, 5"]),
    ("groups of ranks in one launch; ranks in threads", "-", "yes", ["gang *", "threads *"]),
    ("graphs, replays, graphs that outlive a communicator", "-", "yes", ["graph gang"]),
    ("mismatch, abort", "yes", "yes", ["abort", "abort small"]),
    ("by boards: all of the above, one process with one or two devices, processes on a host that share a device; a killed peer; the fall back to host memory",
     "cutting a call into parts, places, kernels", "yes", ["board *", "processes ?", "graph board", "abort board"]),
    ("several hosts, boards within and messages between: all of the above, ranks of one process taken for those of 2, 3, 4 and 36 hosts, processes on virtual hosts over TCP; a killed peer",
     "cutting a call into stages, in every order that words allow", "yes", ["hosts *", "* hosts"]),
    ("NICs between devices of several hosts: bytes, flushes and registrations counted", "sends and receives at addresses that no CPU may touch", "yes, with the NICs of the tests' own libfabric", []),
    ("by way of host memory: all of the above, one process with one or two devices, processes on a host, between virtual hosts; a killed peer",
     "cutting a call into parts", "yes", ["relay *", "processes * relay", "graph relay", "abort relay"]),
    ("messages of many parts whose peers call in another order, by lanes", "which message goes by which lane", "yes", ["crossed board", "crossed hosts", "crossed relay", "crossed process*"]),
    ("windows: one process, processes on a host; graphs, aborts, places that differ, memory of every kind, nonblocking", "what is read where", "yes", ["windows *"]),
    ("memory of another process: the library's and a program's, both kinds of handles", "-", "yes", ["memory of processes"]),
    ("litmus tests of mem.h, copies at every alignment", "-", "yes", ["litmus"]),
]


def records_of(paths):
    """The last record of every test that a GPU ran, oldest first."""
    last = {}
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if record.get("gpu") and "switch" not in record and record["result"] != "not run":
                    last.pop(record["test"], None)
                    last[record["test"]] = record
    return list(last.values())


def ran_text(records, patterns):
    found = [one for one in records if any(fnmatch.fnmatch(one["test"], pattern) for pattern in patterns)]
    if not found:
        return "never"
    bad = [one for one in found if one["result"] in BAD]
    day = max(one["when"][:10] for one in found)
    passed = sum(one["result"] == "pass" for one in found)
    return f"{len(bad)} of {len(found)} failed, {day}" if bad else f"{passed} tests, {day}" if passed else "never"


def ran_table(records):
    lines = ["| what | host code, unit tests | stand-in driver | a GPU |", "| --- | --- | --- | --- |"]
    return "\n".join(lines + [f"| {what} | {host} | {stand_in} | {ran_text(records, patterns)} |" for what, host, stand_in, patterns in RAN])


def bar_lines(records):
    for record in records:
        for bar in record.get("bars", []):
            value = "none" if bar["value"] is None else f"{bar['value']:.3g}"
            yield f"| {record['test']} | {bar['name']} | {value} | at {bar['which']} {bar['limit']} | {'met' if bar['met'] else 'not met'} |"


def failure_lines(records):
    for record in records:
        if record["result"] in BAD:
            yield f"- {record['test']} ({record['when'][:10]}): {record['result']}: {record['why']}"


def figures_text(records):
    if not records:
        return ("No GPU has been asked about any of it: neither results, nor copy rates of all_gather, reduce_scatter and all_reduce against the device's own, nor latency of small\n"
                "all_reduce, eager and in graphs, nor the reduce kernel's rate, nor clients (PyTorch, CuPy, JAX, nccl-tests).")
    devices = sorted({f"{one['device']} with driver {one['values'].get('driver', 'unknown')}" for one in records})
    days = sorted({one["when"][:10] for one in records})
    parts = [f"{len(records)} tests on {'; '.join(devices)}, {days[0]} to {days[-1]}, by `suite.py` on the bundle."]
    bars = list(bar_lines(records))
    if bars:
        parts += ["", "| test | figure | value | bar | |", "| --- | --- | --- | --- | --- |", *bars]
    parts += ["", "Failed:" if any(failure_lines(records)) else "Nothing failed.", "", *failure_lines(records)]
    commands = [f"- `{one['command']}`" for one in records if one.get("bars")]
    if commands:
        parts += ["", "Commands of the figures:", "", *commands]
    return "\n".join(parts).rstrip()


def page_of(records):
    with open(os.path.join(HERE, "page.md"), encoding="utf-8") as text:
        page = text.read()
    return page.replace("{{ran}}", ran_table(records)).replace("{{figures}}", figures_text(records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page")
    parser.add_argument("results", nargs="*")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    made = page_of(records_of(options.results))
    if options.check:
        with open(options.page, encoding="utf-8") as text:
            if text.read() != made:
                sys.exit(f"{options.page} is out of date: run tools/gpu_suite/page.py {options.page} {' '.join(options.results)}")
        return
    with open(options.page, "w", encoding="utf-8") as out:
        out.write(made)


if __name__ == "__main__":
    main()
