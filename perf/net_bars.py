#!/usr/bin/env python3
"""net_bars.py [BUILD]: the bars of the net plugin, measured on this machine, as a table for docs/MEASUREMENTS.md.

Weft's plugin (or another one: --plugin) through NCCL's table, as weft-net-check --bench measures it, against plain libfabric
(weft-fabric-bench --raw): both in this run, one after the other, and the median ratio of the pairs counts. Four rails of virtual hosts, merged into one device,
against one of them, by turns of the same two processes. A minute of load. Virtual hosts need root. Exit status: 1 if a bar is missed, 77 if none could be
measured.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile

from bar_table import NotHere, Table, run

PROVIDER, SOURCE = "tcp;ofi_rxm", "127.0.0.1"
PAIRS = 9


class Bench:
    def __init__(self, build, plugin, folder):
        self.bin = os.path.join(build, "bin")
        self.plugin = plugin or os.path.join(build, "lib", "libnccl-net-weft.so")
        self.json = os.path.join(folder, "net.json")
        self.loopback = {**os.environ, "WEFT_PROVIDER": PROVIDER, "WEFT_RAILS": SOURCE}

    def tool(self, name):
        path = os.path.join(self.bin, name)
        for needed in (path, self.plugin):
            if not os.access(needed, os.R_OK):
                raise NotHere(f"{needed} is not built")
        return path

    def net(self, options, launcher=(), env=None):
        """The figures that weft-net-check takes of the plugin."""
        run([*launcher, self.tool("weft-net-check"), *options, "--json", self.json, self.plugin], env=env)
        with open(self.json, encoding="utf-8") as file:
            return json.load(file)["results"][0]["figures"]

    def raw(self):
        words = run([self.tool("weft-fabric-bench"), "--raw", PROVIDER, SOURCE]).split()
        return {name: float(number) for name, number in (word.split("=") for word in words)}

    def pairs(self):
        """(raw, plugin), neighbours in time; who goes first changes."""
        found = []
        for i in range(PAIRS):
            first, second = (self.raw, self.plain) if i % 2 == 0 else (self.plain, self.raw)
            pair = (first(), second())
            found.append(pair if i % 2 == 0 else pair[::-1])
        return found

    def plain(self):
        return self.net(["--bench"], env=self.loopback)


def loopback_bars(table, bench):
    pairs = []

    def measured(name, ratio):
        if not pairs:
            pairs.extend(bench.pairs())
        ratios = [ratio(raw[name], plugin[name]) for raw, plugin in pairs]
        raw, plugin = (statistics.median(one[name] for one in side) for side in zip(*pairs))
        return statistics.median(ratios), raw, plugin, f"({min(ratios):.3f} to {max(ratios):.3f} in {PAIRS} pairs)"

    def rate():
        ratio, raw, plugin, spread = measured("mb_per_s_1m", lambda raw, plugin: plugin / raw)
        return f"{plugin:.0f} MB/s against {raw:.0f} MB/s, {ratio:.3f} {spread}", ratio >= 0.85

    def latency():
        ratio, raw, plugin, spread = measured("latency_us", lambda raw, plugin: plugin / raw)
        return f"{plugin:.2f} us against {raw:.2f} us, {ratio:.3f} {spread}", ratio <= 1.6

    table.bar("1 MiB messages, 4 in flight, against `fi_writedata`", "at least 0.85 of its rate", rate)
    table.bar("8 B ping-pong, half a round trip, against `fi_writedata`", "at most 1.6x its time", latency)


def rails_bar(table, bench):
    def measure():
        if os.geteuid() != 0:
            raise NotHere("virtual hosts need root")
        figures = bench.net(["--bench", "--wait", "60"], [
            bench.tool("weft-run"), "-n", "2", "--hosts", "2", "--require-hosts", "--rails", "4", "--rate", "250mbit", "--prefix", "none", "--"])
        ratio = figures["merged_over_one"]
        return (f"{figures['mb_per_s_8m']:.1f} MB/s by one, {figures['mb_per_s_8m_merged']:.1f} MB/s by "
                f"{figures['merged_nics']}: {ratio:.2f}x"), ratio >= 3.6

    table.bar("8 MiB messages, 4 in flight, four rails of 250 Mbit/s merged into one device against one of them", "at least 3.6x", measure)


def soak_bar(table, bench, seconds):
    def measure():
        figures = bench.net(["--soak", str(seconds)], env=bench.loopback)

        def of(rank, what):
            return ", ".join(f"{figures[f'rank{rank}_{what}_{moment}'] / (1024 if 'kib' in what else 1):.0f}"
                             for moment in ("begin", "settled", "end"))

        return (f"{figures['messages'] / 1e6:.2f} million messages, {figures['mib'] / 1024:.0f} GiB, {figures['registrations']} registrations; "
                f"MiB resident before, settled, at the end: {of(0, 'resident_kib')} (rank 0), {of(1, 'resident_kib')} (rank 1); descriptors "
                f"{of(0, 'descriptors')} and {of(1, 'descriptors')}; {figures['rank0_registered_kib'] / 1024:.0f} MiB registered"), True

    table.bar(f"64 connections x 32 requests for {seconds} s, every byte compared", "no error, nothing grows", measure)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--plugin", help="another net plugin for NCCL")
    parser.add_argument("--only", choices=["loopback", "rails", "soak"], help="measure one part")
    parser.add_argument("--seconds", type=int, default=60, help="of the soak (60)")
    asked = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory(prefix="weft-net-bars-") as folder:
        bench = Bench(os.path.abspath(asked.build), asked.plugin, folder)
        if asked.only in (None, "loopback"):
            loopback_bars(table, bench)
        if asked.only in (None, "rails"):
            rails_bar(table, bench)
        if asked.only in (None, "soak"):
            soak_bar(table, bench, asked.seconds)
    return table.print("net_bars.py")


if __name__ == "__main__":
    sys.exit(main())
