"""What every client does. A client starts its workers, one a rank, with our libnccl.so.2 in LD_PRELOAD, because wheels carry a libnccl of
their own and find it by RPATH. Each worker asserts first that the library in its process is ours; at its end the library prints its counters
(WEFT_STATS), which must have moved. The last line of a client is RESULT {...}, as of weft-gpu-check."""

import ctypes
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

SKIP = 77
PATIENCE = 170


def finish(result, why="", **values):
    """The line that the runner reads, and the end."""
    print("\nRESULT " + json.dumps({"result": result, "why": why, "values": values}), flush=True)
    sys.stdout.flush()
    os._exit({"pass": 0, "skip": SKIP}.get(result, 1))


class Found(ctypes.Structure):
    _fields_ = [("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("address", ctypes.c_void_p)]


def library_check():
    """The versions and the file of the libnccl that names resolve to in this process; ends it if that is not ours."""
    process = ctypes.CDLL(None)
    if not hasattr(process, "weftGetVersion"):
        sys.exit(f"weftGetVersion is not in this process: LD_PRELOAD={os.environ.get('LD_PRELOAD', '')} did not bring our libnccl.so.2")
    ours, theirs, found = ctypes.c_int(), ctypes.c_int(), Found()
    if process.weftGetVersion(ctypes.byref(ours)) != 0 or process.ncclGetVersion(ctypes.byref(theirs)) != 0 or ours.value <= 0:
        sys.exit("weftGetVersion or ncclGetVersion failed")
    process.dladdr(ctypes.cast(process.ncclAllReduce, ctypes.c_void_p), ctypes.byref(found))
    wanted = os.environ.get("WEFT_SUITE_LIBRARY", "")
    if wanted and os.path.realpath((found.file or b"").decode()) != os.path.realpath(wanted):
        sys.exit(f"ncclAllReduce is of {(found.file or b'').decode()}, not of {wanted}")
    return ours.value, theirs.value, (found.file or b"").decode()


def module(name):
    """An importable module; else the worker says why not and is skipped."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a broken installation raises
        print(f"SKIPPED {name} cannot be imported: {type(error).__name__}: {error}", flush=True)
        os._exit(SKIP)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def port_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def workers_start(script, count, arguments):
    env = {**os.environ, "WEFT_STATS": "1", "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port_free())}
    for rank in range(count):
        out = tempfile.TemporaryFile()
        command = [sys.executable, script, "--worker", *arguments]
        yield out, subprocess.Popen(command, env={**env, "RANK": str(rank), "LOCAL_RANK": "0"}, stdout=out, stderr=subprocess.STDOUT,
                                    stdin=subprocess.DEVNULL)


def workers_end(running):
    """Statuses and texts; one that fails ends the others, which would wait for it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and any(process.poll() is None for _, process in running):
        if any(process.poll() not in (None, 0, SKIP) for _, process in running):
            end = min(end, time.monotonic() + 5)
        time.sleep(0.05)
    for _, process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    texts = []
    for out, _ in running:
        out.seek(0)
        texts.append(out.read().decode(errors="replace"))
        out.close()
    return [process.returncode for _, process in running], texts


def operations_in(text):
    return sum(int(ops) for ops in re.findall(r"weft stats: rank \d+ comm \S+ ops=(\d+)", text))


def supervise(script, count, arguments):
    """Runs the workers and ends with what they were worth."""
    statuses, texts = workers_end(list(workers_start(script, count, arguments)))
    print("\n".join(texts), flush=True)
    skipped = re.search(r"^SKIPPED (.*)", "\n".join(texts), flags=re.M)
    if skipped:
        finish("skip", skipped.group(1))
    for rank, status in enumerate(statuses):
        if status != 0:
            last = [line for line in texts[rank].splitlines() if line.strip() and "weft stats" not in line][-1:]
            finish("fail", f"rank {rank} ended with {status}: {' '.join(last)[:300]}")
    counts = [operations_in(text) for text in texts]
    if min(counts, default=0) == 0:
        finish("fail", f"our counters did not move in every process ({counts}): the calls went to another library")
    figures = {name: value for name, value in re.findall(r"^FIGURE (\S+) (.*)$", texts[0], flags=re.M)}
    finish("pass", **{"processes": count, "operations": counts, **figures})


def main(script, body, default_count):
    """The program of every client: `script COUNT [ARG...]` or, as a worker, `script --worker [ARG...]`."""
    if sys.argv[1:2] == ["--worker"]:
        library_check()
        try:
            body(*sys.argv[2:])
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else default_count
    supervise(script, count, sys.argv[2:])
