"""Weft's ranks on virtual hosts that the software EFA device joins: efa_test.py PLACE LIBRARY FABRIC WORKER, LIBRARY as for
tests/conformance/efa. The network reorders packets and places them twice and in pieces; the device's counters must say that it did. 77: this
machine does not allow virtual hosts, or has no such libfabric."""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

BIN = os.environ["WEFT_TEST_BIN"]
SOURCE = os.environ["WEFT_TEST_SOURCE"]
PLACES = {"two": (2, 2), "eight": (8, 4)}  # ranks, hosts
DEVICE = "nics=2,reorder=200us,duplicate=10%,twice=5%,torn,seed=11"
SKIP = 77


def library_path(library, fabric):
    if library == "system":
        return []
    done = subprocess.run([os.path.join(SOURCE, "tools/efa-2x.sh"), os.path.dirname(BIN)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"SKIPPED {fabric}: {done.stderr.strip()}")
        sys.exit(SKIP)
    return ["--env", f"WEFT_LIBFABRIC={done.stdout.strip()}/libfabric.so.1"]


def counters_of(folder):
    """By host, all processes and NICs added up."""
    hosts = {}
    for name in glob.glob(os.path.join(folder, "counters-*")):
        with open(name, encoding="utf-8") as file:
            process = json.load(file)
        total = hosts.setdefault(process["host"], {"processes": 0})
        total["processes"] += 1
        for nic in process["nics"]:
            for key, value in nic.items():
                if key != "name":
                    total[key] = total.get(key, 0) + value
    return hosts


def main(place, library, fabric, worker):
    ranks, hosts = PLACES[place]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "FI_", "OMPI_", "PMI", "LD_"))}
    env.update(NCCL_DEBUG="INFO", NCCL_DEBUG_SUBSYS="INIT,NET")
    with tempfile.TemporaryDirectory(prefix="weft-efa-test-") as folder:
        command = [os.path.join(BIN, "weft-run"), "-n", str(ranks), "--hosts", str(hosts), "--require-hosts", f"--efa={DEVICE}",
                   "--env", f"WEFT_EFA_DEVICE_COUNTERS={folder}/counters-%h-%p", "--env", f"WEFT_PROVIDER={fabric}",
                   *library_path(library, fabric), "--prefix", "all", "--timeout", "120", "--", worker, "collectives"]
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False)
        sys.stdout.write(done.stdout + done.stderr)
        if "weft-run: no virtual hosts" in done.stderr:
            sys.exit(SKIP)
        assert done.returncode == 0, f"exit status {done.returncode}"
        used = re.findall(r"Using network fabric: provider efa, fabric (\S+), libfabric (\d)", done.stdout + done.stderr)
        assert used == [(fabric, "1" if library == "system" else "2")] * ranks, used
        counters = counters_of(folder)
    assert sorted(counters) == list(range(hosts)), sorted(counters)
    for host, total in counters.items():
        print(host, total)
        assert total["processes"] == ranks // hosts, (host, total)
        for name in ("sends", "packets", "duplicates", "torn", "reorders", *(["writes_imm"] if library == "2x" else [])):
            assert total[name] > 20, (host, name, total)
        assert total["packet_bytes"] > 5 << 20 and total["cq_overruns"] == 0, (host, total)


main(*sys.argv[1:])
