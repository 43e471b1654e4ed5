"""Runs one test in processes of its own, with a deadline, and says in a dictionary how it ended."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# After its own deadline a process aborts its communicators and says where they were.
GRACE = 20
SAID_LINES = 12


class Place:
    """Where the bundle lies and which driver is used."""

    def __init__(self, bundle, driver):
        self.bundle = os.path.abspath(bundle)
        self.driver = os.path.abspath(driver) if driver else None
        self.check = os.path.join(self.bundle, "weft-gpu-check")
        self.library = os.path.join(self.bundle, "libnccl.so.2")
        self.clients = os.path.join(HERE, "clients")

    def environment(self, case):
        """The caller's, without settings of this library; LD_LIBRARY_PATH may be how the driver is found."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "LD_PRELOAD")) or k == "WEFT_NCCL_TESTS"}
        kept.update({"WEFT_DEVICE": "cuda", "NCCL_DEBUG": "INFO", "PYTHONUNBUFFERED": "1"})
        if self.driver:
            kept["WEFT_LIBCUDA"] = self.driver
        libfabric = os.path.join(self.bundle, "libfabric.so.1")
        if os.path.exists(libfabric):
            kept["WEFT_LIBFABRIC"] = libfabric
        if case.processes > 1:
            kept["NCCL_COMM_ID"] = f"127.0.0.1:{free_port()}"
        if case.script:
            kept.update({"LD_PRELOAD": self.library, "WEFT_SUITE_LIBRARY": self.library})
        return {**kept, **case.env}

    def command(self, case, rank):
        if case.script:
            return [sys.executable, os.path.join(self.clients, case.script), *case.arguments]
        command = [self.check, *case.arguments, "--deadline", str(case.deadline)]
        if case.processes > 1:
            command += ["--rank", str(rank)]
        if case.sanitizer:
            return [sanitizer(), "--tool", case.sanitizer, "--error-exitcode", "9", *command]
        return command


def sanitizer():
    for folder in os.environ.get("PATH", "").split(":") + ["/usr/local/cuda/bin"]:
        path = os.path.join(folder, "compute-sanitizer")
        if os.access(path, os.X_OK):
            return path
    return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kill(process):
    """It and all that it started: each test is a process group of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def started(place, case):
    env = place.environment(case)
    for rank in range(case.processes):
        # A file, so that a process that writes much is never held up.
        out = tempfile.TemporaryFile()
        yield out, subprocess.Popen(place.command(case, rank), env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


def waited(running, until):
    """Exit statuses; None for what had to be killed."""
    statuses = []
    for _, process in running:
        try:
            statuses.append(process.wait(max(0.1, until - time.monotonic())))
        except subprocess.TimeoutExpired:
            kill(process)
            process.wait()
            statuses.append(None)
    for _, process in running:
        kill(process)  # what a test left behind
    return statuses


def text_of(out):
    out.seek(0)
    text = out.read().decode(errors="replace")
    out.close()
    return text


def result_of(text, status):
    """What one process said of itself, or what its end says."""
    for line in reversed(text.splitlines()):
        if line.startswith("RESULT "):
            try:
                found = json.loads(line[len("RESULT "):])
            except ValueError:
                break
            if found["result"] == "pass" and status != 0:
                found.update(result="fail", why=f"passed, and then ended with status {status}")
            return found
    if status is None:
        return {"result": "hang", "why": "did not end and was killed", "values": {}}
    end = f"signal {-status}" if status < 0 else f"status {status}"
    return {"result": "crash", "why": f"ended with {end} and without a result", "values": {}}


ORDER = ["pass", "skip", "fail", "crash", "hang"]


def worst(results):
    return max(results, key=lambda one: ORDER.index(one["result"]))


def lanes_in(text):
    """Where lanes were when they were aborted."""
    return re.findall(r"rank \d+ lane \d+ was stopped .*", text)


def not_possible(case, is_stand_in):
    if case.sanitizer and is_stand_in:
        return "the stand-in driver has no sanitizer"
    if case.sanitizer and sanitizer() is None:
        return "compute-sanitizer is not installed"
    return ""


def run(place, case, is_stand_in=False):
    record = {"test": case.name, "kind": case.kind or case.name, "command": " ".join(place.command(case, 0)) if not case.sanitizer or sanitizer() else "",
              "env": case.env, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    why = not_possible(case, is_stand_in)
    if why:
        return {**record, "result": "skip", "why": why, "values": {}, "seconds": 0}
    begun = time.monotonic()
    running = list(started(place, case))
    try:
        statuses = waited(running, begun + case.deadline + GRACE)
    finally:
        for _, process in running:
            kill(process)
    texts = [text_of(out) for out, _ in running]
    found = worst([result_of(text, status) for text, status in zip(texts, statuses)])
    record.update(found, seconds=round(time.monotonic() - begun, 2))
    if found["result"] not in ("pass", "skip"):
        whole = "\n".join(texts)
        record["lanes"] = lanes_in(whole)
        record["said"] = [line for line in whole.splitlines() if line.strip()][-SAID_LINES:]
    return record
