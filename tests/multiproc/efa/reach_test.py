"""Ranks that cannot reach each other over the software EFA device, or only seem so: reach_test.py CASE LIBRARY FABRIC WORKER, LIBRARY as for
tests/conformance/efa. Four ranks on two hosts with two NICs each. 77: this machine does not allow virtual hosts, or has no such libfabric."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["WEFT_TEST_SOURCE"], "tests"))
import efa_device

BIN = os.environ["WEFT_TEST_BIN"]
SKIP = 77
RANKS = 4
LIMIT = 10  # seconds, WEFT_INIT_TIMEOUT: init on a machine full of other work must fit


def library_setting(library, fabric):
    folder = efa_device.library_path(library, fabric)
    return {"WEFT_LIBFABRIC": f"{folder}/libfabric.so.1"} if folder else {}


class World:
    def __init__(self, library, fabric, worker):
        self.worker = worker
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "FI_", "OMPI_", "PMI", "LD_"))}
        self.env.update(WEFT_PROVIDER=fabric, WEFT_RUN_GRACE="20", **library_setting(library, fabric))

    def run(self, *mode, faults=None, unresponsive="500ms", limit=LIMIT, status=0):
        command = [os.path.join(BIN, "weft-run"), "-n", str(RANKS), "--hosts", "2", "--require-hosts",
                   f"--efa=nics=2,unresponsive={unresponsive}", *([f"--efa-faults={faults}"] if faults else []), "--prefix", "all",
                   "--timeout", "100", "--", self.worker, *map(str, mode)]
        env = {**self.env, "WEFT_INIT_TIMEOUT": str(limit)}
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=130, check=False)
        if "weft-run: no virtual hosts" in done.stderr:
            print(done.stderr)
            sys.exit(SKIP)
        said = done.stdout + done.stderr
        print(said)
        assert done.returncode == status, f"exit status {done.returncode}, not {status}"
        return said

    def unreached(self, faults, nic):
        """Every rank's operation ends; each hears of a pair of ranks, the rail between them, its address and the rule."""
        said = self.run("unreached", faults=faults)
        lines = re.findall(r"result (\d+) after ([0-9.]+) s: (.*)", said)
        assert len(lines) == RANKS, f"{len(lines)} ranks ended"
        assert max(float(took) for _, took, _ in lines) >= LIMIT, "the peer was given up before its time"
        for code, _, text in lines:
            assert code in ("2", "6"), f"result {code}: {text}"  # ncclSystemError, ncclRemoteError
            for word in (rf"rail \d \({nic}", r"rank \d", r"fi_addr_efa://\[fe80::", "security group", rf"for {LIMIT} s \(WEFT_INIT_TIMEOUT\)"):
                assert re.search(word, text), f"no {word}: {text}"


def case_one_way(world):
    world.unreached("loss rate=100% host=0 to=1", "rdmap")


def case_rail(world):
    world.unreached("loss rate=100% nic=1 host=1", "rdmap32s27")


def case_late(world):
    assert "failed" not in world.run("late-first", LIMIT + 4)


def case_stopped(world):
    """This device's NIC stops with its process: greetings fail, which is told, and are sent again."""
    assert "the link to" not in world.run("stopped-first", 4, unresponsive="1s", limit=30)


def case_killed(world):
    said = world.run("kill-two", RANKS - 1, limit=60, status=137)
    assert len(re.findall(r"result \d+ after", said)) == 2 * (RANKS - 1), "not every operation of the survivors ended"


globals()["case_" + sys.argv[1]](World(*sys.argv[2:]))
