"""nccl-tests: nccl_tests.py RANKS. Every *_perf in the folder WEFT_NCCL_TESTS runs with so many devices, which a preload of ours maps onto one;
its own check must count no wrong element. `shown` instead of RANKS tries the preload alone, without nccl-tests."""

import ctypes
import glob
import os
import re
import subprocess
import sys

import client

LIBRARY = os.environ.get("WEFT_SUITE_LIBRARY", "")
DEVICES = os.path.join(os.path.dirname(LIBRARY), "libweft-devices.so")


def environment(ranks):
    return {**os.environ, "LD_PRELOAD": f"{DEVICES} {LIBRARY}", "WEFT_SUITE_DEVICES": str(ranks), "WEFT_STATS": "1"}


def wrong_in(text):
    """What the program counted; None where it says nothing of it."""
    found = re.findall(r"# Out of bounds values : (\d+)", text)
    return int(found[-1]) if found else None


def run(program, ranks):
    command = [program, "-g", str(ranks), "-b", "8", "-e", "16M", "-f", "8", "-n", "3", "-w", "1", "-c", "1"]
    done = subprocess.run(command, env=environment(ranks), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    print(done.stdout + done.stderr, flush=True)
    name = os.path.basename(program)
    wrong = wrong_in(done.stdout)
    if done.returncode != 0 or wrong != 0:
        client.finish("fail", f"{name}: exit status {done.returncode}, {'no count of' if wrong is None else wrong} wrong elements")
    if client.operations_in(done.stdout + done.stderr) == 0:
        client.finish("fail", f"{name}: our counters did not move: it uses another library")


def shown(ranks):
    """In this process, which has the preload: so many devices, and communicators on them."""
    process = ctypes.CDLL(None)
    count, device = ctypes.c_int(), ctypes.c_int()
    client.check(process.cudaGetDeviceCount(ctypes.byref(count)) == 0 and count.value == ranks, f"{count.value} devices are shown")
    client.check(process.cudaSetDevice(ranks - 1) == 0 and process.cudaSetDevice(ranks) != 0, "cudaSetDevice")
    client.check(process.cudaGetDevice(ctypes.byref(device)) == 0 and device.value == ranks - 1, "cudaGetDevice")
    comms = (ctypes.c_void_p * ranks)()
    client.check(process.ncclCommInitAll(comms, ranks, (ctypes.c_int * ranks)(*range(ranks))) == 0, "ncclCommInitAll")
    for rank in range(ranks):
        process.ncclCommUserRank(ctypes.c_void_p(comms[rank]), ctypes.byref(count))
        client.check(count.value == rank, "the rank of a communicator")
    for rank in range(ranks):
        client.check(process.ncclCommDestroy(ctypes.c_void_p(comms[rank])) == 0, "ncclCommDestroy")
    client.finish("pass", devices=ranks)


def main(what):
    if what == "shown":
        if os.environ.get("WEFT_SUITE_DEVICES") is None:
            os.execve(sys.executable, [sys.executable, *sys.argv], environment(4))
        shown(4)
    folder = os.environ.get("WEFT_NCCL_TESTS", "")
    programs = sorted(glob.glob(os.path.join(folder, "*_perf"))) if folder else []
    if not programs:
        client.finish("skip", f"no *_perf in WEFT_NCCL_TESTS={folder}" if folder else "WEFT_NCCL_TESTS is not set")
    for program in programs:
        run(program, int(what))
    client.finish("pass", programs=len(programs))


try:
    main(sys.argv[1])
except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
    client.finish("fail", f"{type(error).__name__}: {error}")
