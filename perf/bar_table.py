"""What the bar scripts share: running a command, a table of bars, the line that says where it was measured."""
import datetime
import os
import platform
import shutil
import subprocess
import sys


class NotHere(Exception):
    """This machine cannot measure the bar."""


def run(command, timeout=300, env=None):
    done = subprocess.run(command, text=True, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {lines[-1]}")
    return done.stdout


class Table:
    def __init__(self):
        self.rows = []
        self.missed = 0

    def bar(self, name, goal, measure):
        """measure() gives (what was measured, as text, whether it is enough; None: no bar)."""
        try:
            text, enough = measure()
            verdict = {None: "-", True: "PASS", False: "FAIL"}[enough]
        except NotHere as reason:
            text, verdict = str(reason), "skipped"
        except (RuntimeError, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as fault:
            text, verdict = str(fault), "FAIL"
        self.missed += verdict == "FAIL"
        self.rows.append((name, goal, text, verdict))
        print(f"{verdict:7}  {name}: {text}", file=sys.stderr, flush=True)

    def print(self, script):
        """The table; the exit status: 1 if a bar is missed, 77 if none could be measured."""
        print(f"\n`perf/{script}`, {datetime.date.today()}, {machine()}, {mpi_version()}; load {os.getloadavg()[0]:.1f} at the end.\n")
        print("| bar | goal | measured | |\n| --- | --- | --- | --- |")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")
        return 1 if self.missed else 0 if any(row[3] != "skipped" for row in self.rows) else 77


def machine():
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{len(os.sched_getaffinity(0))} cores of {model}, Linux {platform.release()}"


def mpi_version():
    if not shutil.which("mpirun"):
        return "no MPI"
    out = subprocess.run(["mpirun", "--version"], text=True, stdout=subprocess.PIPE, check=False).stdout
    return (out.splitlines() or ["unknown MPI"])[0].replace("mpirun ", "").strip("()").replace(") ", " ")
