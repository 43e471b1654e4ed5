"""Processes on device memory, on the stand-in driver: device_test.py DRIVER WORKER PLACE CASE [ARG...]. On one host (host) they reach each
other by boards, or by way of host memory if told so (relay). On virtual hosts (virtual) of two ranks each they do the one within a host and
exchange messages between them, and where hosts have unlike numbers of ranks (uneven) all goes by way of host memory. 77: this machine does not
allow virtual hosts."""

import os
import re
import subprocess
import sys

DRIVER, WORKER, PLACE, CASE = sys.argv[1:5]
RUN = os.path.join(os.environ["WEFT_TEST_BIN"], "weft-run")
PLACES = {"host": ["-n", "3"], "relay": ["-n", "3"], "virtual": ["-n", "4", "--hosts", "2", "--require-hosts"],
          "uneven": ["-n", "3", "--hosts", "2", "--require-hosts"]}
RELAYED = r"go through \d+ bytes of pinned host memory"
WAYS = {"host": r"go through boards of \d+ bytes", "relay": RELAYED, "uneven": RELAYED,
        "virtual": r"are 2 hosts of 2 ranks: calls on device memory go through boards"}


def clean(**more):
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "OMPI_", "PMI"))}
    if PLACE == "relay":
        keep["WEFT_DEVICE_RELAY"] = "1"
    return {**keep, "WEFT_LIBCUDA": DRIVER, **more}


def run(*arguments, **env):
    command = [RUN, *PLACES[PLACE], "--prefix", "all", "--timeout", "90", "--", WORKER, *map(str, arguments)]
    done = subprocess.run(command, env=clean(**env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    return done


def case_collectives(count):
    done = run("collectives", count, NCCL_DEBUG="INFO")
    assert done.returncode == 0, f"exit status {done.returncode}"
    ways = re.findall(WAYS[PLACE], done.stdout + done.stderr)
    assert len(ways) == int(PLACES[PLACE][1]), f"{len(ways)} ranks said how they reach each other"


def case_kill(victim):
    done = run("kill", victim, WEFT_RUN_GRACE="20")
    assert done.returncode == 137, f"exit status {done.returncode}, not the killed rank's"
    told = re.findall(r"result after", done.stdout)
    assert len(told) == int(PLACES[PLACE][1]) - 1, f"{len(told)} survivors reported"


def case_ends(mode):
    """What the worker's mode promises, on every rank."""
    done = run(mode)
    assert done.returncode == 0, f"exit status {done.returncode}"


def perf(*arguments, **env):
    tool = os.path.join(os.environ["WEFT_TEST_BIN"], "weft-perf")
    command = [RUN, *PLACES[PLACE], "--prefix", "none", "--timeout", "90", "--", tool, "--mem", "device", "-n", "2", *arguments]
    done = subprocess.run(command, env=clean(**env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    return done


def case_perf():
    """The performance tool on device memory: every collective checked, and a spoiled result found."""
    for collective in ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "alltoall", "gather", "scatter", "sendrecv"):
        done = perf(collective, "-b", "8", "-e", "1M", "-f", "64", "-d", "bfloat16")
        assert done.returncode == 0, f"{collective}: exit status {done.returncode}"
        assert "Out of bounds values : 0 OK" in done.stdout, f"{collective}: nothing was checked"
    assert perf("all_reduce", "-b", "64", "-e", "64", WEFT_PERF_CORRUPT="1").returncode == 1


def case_registered():
    """Its buffers in windows, where there are some, and registered by each rank alone."""
    asked = {"1": "registered: yes", "2": "windows: yes" if PLACE == "host" else "windows: no"}
    for collective in ("all_gather", "alltoall"):
        for register, said in asked.items():
            done = perf(collective, "-b", "4K", "-e", "4M", "-f", "1024", "-R", register)
            assert done.returncode == 0, f"{collective}: exit status {done.returncode}"
            assert "Out of bounds values : 0 OK" in done.stdout, f"{collective}: nothing was checked"
            assert f"# {said}\n" in done.stdout, f"{collective} -R {register}: the header does not say '{said}'"


def main():
    if PLACE in ("virtual", "uneven"):
        probe = subprocess.run([RUN, "-n", "1", "--hosts", "1", "--require-hosts", "--", "true"], env=clean(),
                               capture_output=True, text=True, timeout=30, check=False)
        if probe.returncode != 0:
            print(f"virtual hosts are not allowed here: {probe.stderr.strip()}")
            return 77
    try:
        globals()["case_" + CASE](*sys.argv[5:])
    except AssertionError as error:
        print(f"{PLACE} {CASE}: {error}")
        return 1
    return 0


sys.exit(main())
