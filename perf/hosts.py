#!/usr/bin/env python3
"""hosts.py [BUILD]: the hierarchy on virtual hosts, measured on this machine, as a table for docs/MEASUREMENTS.md.

Every row is one set of virtual hosts: the raw TCP rate of their rails, Weft, Open MPI with each of its algorithms forced, and Gloo where
it is built in, one after the other in the same network, Weft and its peers in the same processes taking turns. Medians count. Needs
root, Open MPI and nsenter. Exit status: 1 if a bar is missed, 77 if none could be measured.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from bar_table import NotHere, Table, run

MEBI = 1 << 20
RATE = "1gbit"
# Open MPI 4.1 (ompi/mca/coll/tuned): parameter, numbers, extra options of weft-vs-mpi.
FORCED = {
    "all_gather": [("allgather", {1: "linear", 2: "bruck", 3: "recursive doubling", 4: "ring", 5: "neighbor"}, [])],
    "reduce_scatter": [
        ("reduce_scatter_block", {1: "linear", 2: "recursive doubling", 3: "recursive halving", 4: "butterfly"}, []),
        ("reduce_scatter", {1: "non-overlapping", 2: "recursive halving", 3: "ring", 4: "butterfly"}, ["--mpi-vector"]),
    ],
    "all_reduce": [("allreduce", {2: "non-overlapping", 3: "recursive doubling", 4: "ring", 5: "segmented ring",
                                  6: "Rabenseifner"}, [])],
}
PASSED_ON = ("WEFT_RAILS", "NCCL_SOCKET_IFNAME")


class Hosts:
    """Virtual hosts that stay while several programs run on them."""

    def __init__(self, build, hosts, rails, rate=RATE, efa=False):
        self.bin = os.path.join(build, "bin")
        self.hosts, self.rails = hosts, rails
        # The software EFA device's own rate: its wire is memory, not the virtual hosts' links.
        self.network = [f"--efa=nics={rails},rate={rate}"] if efa else ["--rails", str(rails), "--rate", rate]
        self.folder = tempfile.mkdtemp(prefix="weft-hosts-")
        self.holder = None
        self.pids = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        mark = os.path.basename(self.folder)
        self.holder = subprocess.Popen(
            [self.tool("weft-run"), "-n", str(self.hosts), "--hosts", str(self.hosts), *self.network,
             "--require-hosts", "--prefix", "none", "--env", f"WEFT_PERF_MARK={mark}", "--", "sleep", "1200"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        limit = time.monotonic() + 20
        while len(self.pids) < self.hosts:
            if self.holder.poll() is not None:
                raise NotHere("no virtual hosts: " + self.holder.stderr.read().strip().splitlines()[-1])
            if time.monotonic() > limit:
                raise NotHere("virtual hosts do not come up")
            time.sleep(0.2)
            self.pids = self.find(mark)
        for host, (pid, env) in enumerate(self.pids):
            names = " ".join(f"{name}={env[name]}" for name in PASSED_ON)
            with open(self.path(f"weft-h{host}"), "w", encoding="utf-8") as file:
                file.write(f'exec nsenter -t {pid} -n -u -i -p -m -- env {names} sh -c "$*"\n')
        with open(self.path("agent"), "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nhost=$1; shift\n. {self.folder}/$host\n')
        os.chmod(self.path("agent"), 0o700)
        return self

    def __exit__(self, *_):
        self.holder.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.holder.wait(10)
        self.holder.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def find(mark):
        """By host: process and environment of the sleepers."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/environ", "rb") as file:
                    env = dict(line.split("=", 1) for line in file.read().decode(errors="replace").split("\0") if "=" in line)
                with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                    sleeper = file.read().strip() == "sleep"
                if sleeper and env.get("WEFT_PERF_MARK") == mark and all(name in env for name in PASSED_ON):
                    found[int(env["WEFT_HOST_INDEX"])] = (pid, env)
        return [found[host] for host in sorted(found)]

    def tool(self, name):
        path = os.path.join(self.bin, name)
        if not os.access(path, os.X_OK):
            raise NotHere(f"{path} is not built")
        return path

    def inside(self, command, env=()):
        """Runs in the network of host 0."""
        pid, host_env = self.pids[0]
        names = [f"{name}={host_env[name]}" for name in PASSED_ON] + list(env)
        run(["nsenter", "-t", pid, "-n", "-u", "-i", "--", "env"] + names + command)

    def mpirun(self, per_host, forced, program):
        where = ",".join(f"weft-h{host}:{per_host}" for host in range(self.hosts))
        command = ["mpirun", "--allow-run-as-root", "--mca", "plm_rsh_agent", self.path("agent"), "--host", where, "-np",
                   str(self.hosts * per_host), "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]
        for name in ("btl_tcp_if_include", "oob_tcp_if_include"):
            command += ["--mca", name, "10.77.0.0/16"]
        for name, value in forced:
            command += ["--mca", name, str(value)]
        self.inside(command + ["-x", "NCCL_ALGO"] * ("NCCL_ALGO" in os.environ) + program)

    def versus(self, coll, size, per_host, forced=(), extra=(), gloo=False, reps=7):
        out = self.path("versus.json")
        meeting = tempfile.mkdtemp(dir=self.folder)
        self.mpirun(per_host, forced, [self.tool("weft-vs-mpi"), "--op", coll, "--sizes", str(size), "--rotate", str(size), "--reps",
                                       str(reps), "--json", out] + list(extra) + (["--gloo", meeting] if gloo else []))
        with open(out, encoding="utf-8") as file:
            row = json.load(file)["rows"][0]
        if row["wrong"]:
            raise RuntimeError(f"{row['wrong']} bytes differ between the libraries")
        return row

    def raw_rate(self):
        """Bytes per us that raw TCP moves over all rails of a host, between hosts made the same way."""
        out = self.path("rate.json")
        run([self.tool("weft-run"), "-n", "2", "--hosts", "2", *self.network, "--require-hosts", "--",
             self.tool("weft-rail-rate"), "--json", out])
        with open(out, encoding="utf-8") as file:
            return json.load(file)["all_mb_per_s"]


def weft_alone(hosts, coll, size, per_host, algo, iterations=7):
    """Median over single calls of the slowest rank's time, in us, on hosts of its own made the same way."""
    out = hosts.path("perf.json")
    times = []
    for _ in range(iterations):
        run([hosts.tool("weft-run"), "-n", str(hosts.hosts * per_host), "--hosts", str(hosts.hosts), *hosts.network,
             "--require-hosts"] + (["--env", f"NCCL_ALGO={algo}"] if algo else []) +
            ["--", hosts.tool("weft-perf"), coll, "-b", str(size), "-e", str(size), "-n", "3", "-w", "1", "-c", "1", "-a", "3",
             "--json", out])
        with open(out, encoding="utf-8") as file:
            row = json.load(file)["rows"][0]
        if row["wrong"]:
            raise RuntimeError(f"{row['wrong']} wrong values")
        times.append(row["time_us"])
    return statistics.median(times)


def wire_bars(table, hosts):
    size, per_host = 16 * MEBI, 2
    share = (hosts.hosts - 1) / hosts.hosts
    for coll, phases, most in (("all_gather", 1, 1.06), ("reduce_scatter", 1, 1.10), ("all_reduce", 2, 1.10)):
        rows = {}

        def measure():
            rates = [hosts.raw_rate()]
            for parameter, names, extra in FORCED[coll]:
                for number, name in names.items():
                    forced = [("coll_tuned_use_dynamic_rules", 1), (f"coll_tuned_{parameter}_algorithm", number)]
                    rows[name, bool(extra)] = hosts.versus(coll, size, per_host, forced, extra, gloo=not rows and coll != "reduce_scatter")
            rates.append(hosts.raw_rate())
            bound = phases * share * size / statistics.mean(rates)
            times = [row["weft_us"] / bound for row in rows.values()]
            ratio = statistics.median(times)
            return (f"{ratio:.3f}x the bound of {bound / 1e3:.1f} ms ({min(times):.3f} to {max(times):.3f} in {len(times)} runs of 7); "
                    f"raw TCP {rates[0]:.1f} and {rates[-1]:.1f} MB/s"), ratio <= most

        def against_mpi():
            (name, vector), row = min(rows.items(), key=lambda item: item[1]["mpi_us"])
            return (f"{row['mpi_us'] / 1e3:.1f} ms by {name}{' (MPI_Reduce_scatter)' if vector else ''}, ratio {row['ratio']:.2f} "
                    f"({row['ratio_p10']:.2f} to {row['ratio_p90']:.2f}); others " +
                    ", ".join(f"{other}{'*' if v else ''} {r['mpi_us'] / 1e3:.0f}" for (other, v), r in rows.items()
                              if r is not row) + " ms"), row["ratio"] > 1

        def against_gloo():
            row = next(iter(rows.values()))
            if row["gloo_us"] == 0:
                raise NotHere("built without Gloo")
            return f"{row['gloo_us'] / 1e3:.1f} ms, ratio {row['gloo_ratio']:.2f}", row["gloo_ratio"] > 1 if phases == 1 else None

        where = f"{coll} 16 MiB, {hosts.hosts} hosts x {per_host}"
        table.bar(where, f"at most {most}x the wire's bound", measure)
        table.bar(where + ", Open MPI's best", "faster" if phases == 1 else "for information",
                  against_mpi if phases == 1 else lambda: (against_mpi()[0], None))
        if coll != "reduce_scatter":
            table.bar(where + ", Gloo", "faster" if phases == 1 else "for information", against_gloo)


def flat_ring_bar(table, build):
    def measure():
        hosts = Hosts(build, 2, 1)
        ratios = []
        for _ in range(3):
            ring = weft_alone(hosts, "all_gather", 64 * MEBI, 4, "ring", 1)
            own = weft_alone(hosts, "all_gather", 64 * MEBI, 4, "", 1)
            ratios.append((ring / own, own, ring))
        ratio, own, ring = sorted(ratios)[1]
        return f"{own / 1e3:.1f} ms against {ring / 1e3:.1f} ms: {ratio:.2f}x", ratio >= 1.6

    table.bar("all_gather 64 MiB, 2 hosts x 4, against Weft's own flat ring", "at least 1.6x (theory 1.75x)", measure)


def rails_bar(table, one, many, per_host, coll, least, words):
    """What `many` rails give over one, the same ranks on hosts of either kind by turns."""
    def measure():
        ratios = []
        for _ in range(5):
            slow = weft_alone(one, coll, 64 * MEBI, per_host, "", 1)
            fast = weft_alone(many, coll, 64 * MEBI, per_host, "", 1)
            ratios.append((slow / fast, slow, fast))
        ratio, slow, fast = sorted(ratios)[2]
        return (f"{slow / 1e3:.1f} ms by one, {fast / 1e3:.1f} ms by {many.rails}: {ratio:.2f}x ({min(ratios)[0]:.2f} to "
                f"{max(ratios)[0]:.2f})"), None if least is None else ratio >= least

    table.bar(f"{coll} 64 MiB, {one.hosts} hosts x {per_host}, {words} against one", f"at least {least}x" if least else "for information",
              measure)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--only", choices=["wire", "ring", "rails"], help="measure one part")
    asked = parser.parse_args()
    build = os.path.abspath(asked.build)
    table = Table()
    if asked.only in (None, "wire"):
        try:
            if not shutil.which("mpirun") or os.geteuid() != 0:
                raise NotHere("needs root and mpirun")
            with Hosts(build, 4, 1) as hosts:
                wire_bars(table, hosts)
        except NotHere as reason:
            table.rows.append(("4 hosts x 2", "", str(reason), "skipped"))
    if asked.only in (None, "ring"):
        flat_ring_bar(table, build)
    if asked.only in (None, "rails"):
        for hosts, per_host, least in ((2, 1, 1.9), (2, 2, 1.9), (4, 2, None)):
            rails_bar(table, Hosts(build, hosts, 1), Hosts(build, hosts, 2), per_host, "all_gather", least, "two rails")
        quarter = "250mbit"
        rails_bar(table, Hosts(build, 2, 1, quarter), Hosts(build, 2, 4, quarter), 1, "all_gather", 3.7, "four rails of 250 Mbit/s")
        if os.path.exists(os.path.join(build, "bin", "libweft-efa-device.so")):
            rails_bar(table, Hosts(build, 2, 1, "250Mbit", True), Hosts(build, 2, 4, "250Mbit", True), 1, "all_gather", 3.7,
                      "four rails of 250 Mbit/s of the software EFA device")
    return table.print("hosts.py")


if __name__ == "__main__":
    sys.exit(main())
