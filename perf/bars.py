#!/usr/bin/env python3
"""bars.py [BUILD]: the speed bars, measured on this machine, as a table for docs/MEASUREMENTS.md.

Ratios come from weft-vs-mpi, which runs both libraries in the same processes and takes turns;
virtual hosts are compared with the raw TCP rate of the same rails in the same run. The median of
five runs counts. A bar that cannot be measured here says why. Exit status: 1 if a bar is missed, 77 if none could be measured.
"""
import json
import os
import shutil
import sys
import tempfile

from bar_table import NotHere, Table, run

# Ranks that fit are bound as mpirun does by default; ranks that do not must not spin on one
# another's core, which Open MPI has to be told.
FITTING = ["--bind-to", "core"]
CROWDED = ["--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]
MEBI = 1 << 20
RUNS = 5


class Bench(Table):
    def __init__(self, build):
        super().__init__()
        self.bin = os.path.join(build, "bin")
        self.folder = tempfile.mkdtemp(prefix="weft-bars-")

    def tool(self, name):
        path = os.path.join(self.bin, name)
        if not os.access(path, os.X_OK):
            raise NotHere(f"{path} is not built")
        return path

    def file(self, name):
        return os.path.join(self.folder, name)

    def versus(self, ranks, size, memory):
        """The row of weft-vs-mpi with the median ratio of several runs: where pages and ranks land differs by run."""
        rows = [self.versus_once(ranks, str(size), memory)[size] for _ in range(RUNS)]
        return sorted(rows, key=lambda row: row["ratio"])[RUNS // 2]

    def versus_once(self, ranks, sizes, memory):
        if not shutil.which("mpirun"):
            raise NotHere("no mpirun")
        fits = ranks <= len(os.sched_getaffinity(0))
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        out = self.file("versus.json")
        command = ["mpirun", "-np", str(ranks)] + root + (FITTING if fits else CROWDED) + [
            self.tool("weft-vs-mpi"), "--op", "all_reduce", "--sizes", sizes, "--mem", memory, "--rotate",
            "256M" if fits else "1M", "--json", out]
        run(command)
        with open(out, encoding="utf-8") as file:
            found = json.load(file)
        for row in found["rows"]:
            if row["wrong"]:
                raise RuntimeError(f"{row['wrong']} bytes differ from MPI's at {row['bytes']} bytes")
        return {row["bytes"]: row for row in found["rows"]}


def pair_bars(bench):
    def two_ranks(memory, size, least):
        def measure():
            row = bench.versus(2, size, memory)
            text = (f"{row['weft_us']:.2f} us against {row['mpi_us']:.2f} us, ratio {row['ratio']:.2f} "
                    f"({row['ratio_p10']:.2f} to {row['ratio_p90']:.2f})")
            return text, None if least is None else row["ratio"] >= least
        return measure

    bench.bar("8 B all-reduce, 2 ranks, lib memory", "at most 2x Open MPI's latency (ratio 0.5)",
              two_ranks("lib", 8, 0.5))
    bench.bar("8 B all-reduce, 2 ranks, malloc", "for information", two_ranks("malloc", 8, None))
    bench.bar("64 MiB all-reduce, 2 ranks, lib memory", "at least 1.5x Open MPI's bandwidth",
              two_ranks("lib", 64 * MEBI, 1.5))
    bench.bar("64 MiB all-reduce, 2 ranks, malloc", "for information", two_ranks("malloc", 64 * MEBI, None))


def crowd_bar(bench):
    def measure():
        row = bench.versus(16, 8, "lib")
        return f"median {row['weft_us']:.1f} us (Open MPI {row['mpi_us']:.1f} us)", row["weft_us"] < 150

    bench.bar("8 B all-reduce, 16 ranks", "median under 150 us", measure)


def rail_bar(bench):
    hosts, per_host, size = 4, 2, 16 * MEBI

    def once():
        rate_file, perf_file = bench.file("rate.json"), bench.file("perf.json")
        script = (f"{bench.tool('weft-rail-rate')} --json {rate_file} && {bench.tool('weft-perf')} all_reduce "
                  f"-b {size} -e {size} -n 10 -w 2 -a 3 --json {perf_file}")
        try:
            run([bench.tool("weft-run"), "-n", str(hosts * per_host), "--hosts", str(hosts), "--rails", "1",
                 "--rate", "1gbit", "--require-hosts", "--env", "NCCL_ALGO=Ring", "--", "sh", "-c", script])
        except RuntimeError as fault:
            if "not allowed" in str(fault):
                raise NotHere(str(fault)) from fault
            raise
        with open(rate_file, encoding="utf-8") as file:
            rate = json.load(file)["all_mb_per_s"]
        with open(perf_file, encoding="utf-8") as file:
            row = json.load(file)["rows"][0]
        if row["wrong"]:
            raise RuntimeError(f"{row['wrong']} wrong values")
        # Every host must send at least this much: its share of the reduction and of the result.
        bound_us = 2 * (hosts - 1) / hosts * size / rate
        return bound_us / row["time_us"], (f"{row['time_us'] / 1e3:.1f} ms, bound {bound_us / 1e3:.1f} ms at "
                                           f"{rate:.1f} MB/s raw TCP")

    def measure():
        fraction, text = sorted(once() for _ in range(RUNS))[RUNS // 2]
        return f"{text}: {fraction:.0%}", fraction >= 0.8

    bench.bar("16 MiB all-reduce by ring, 4 virtual hosts x 2 ranks, 1 Gbit/s", "at least 80 % of the wire",
              measure)


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build")
    bench = Bench(build)
    try:
        pair_bars(bench)
        crowd_bar(bench)
        rail_bar(bench)
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    return bench.print("bars.py")


if __name__ == "__main__":
    sys.exit(main())
