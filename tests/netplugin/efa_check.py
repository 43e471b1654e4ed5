"""weft-net-check between two virtual hosts that the software EFA device joins: efa_check.py NETWORK LIBRARY FABRIC PLUGIN [OPTION...]. NETWORK is "kind"
(in order), "unkind" (reordered, placed twice and in pieces, which the device's counters must confirm) or "unregistered" (no memory can be registered, and
the plugin must say so); LIBRARY as for tests/conformance/efa; OPTION goes to the checker. 77: this machine does not allow virtual hosts, or has no such
libfabric."""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

BIN = os.environ["WEFT_TEST_BIN"]
SOURCE = os.environ["WEFT_TEST_SOURCE"]
NETWORKS = {"kind": "nics=2", "unkind": "nics=2,reorder=200us,duplicate=10%,twice=5%,torn,seed=31", "unregistered": "nics=2"}
FAULTS = {"unregistered": ["--efa-faults=mr-fail pages=40000"]}  # libfabric's own pools fit
SKIP = 77


def library_path(library):
    if library == "system":
        return {}
    done = subprocess.run([os.path.join(SOURCE, "tools/efa-2x.sh"), os.path.dirname(BIN)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"SKIPPED {library}: {done.stderr.strip()}")
        sys.exit(SKIP)
    return {"WEFT_LIBFABRIC": f"{done.stdout.strip()}/libfabric.so.1"}


def counted(folder):
    totals = {}
    for name in glob.glob(os.path.join(folder, "counters-*")):
        if name.endswith(".new"):  # a draft of a process that was killed
            continue
        with open(name, encoding="utf-8") as file:
            for nic in json.load(file)["nics"]:
                for key, value in nic.items():
                    if key != "name":
                        totals[key] = totals.get(key, 0) + value
    return totals


def checked(network, library, fabric, plugin, options):
    """Output and exit status of the checker, and what the device counted."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "FI_", "OMPI_", "PMI", "LD_"))}
    env.update(WEFT_PROVIDER=fabric, WEFT_INIT_TIMEOUT="10", **library_path(library))
    with tempfile.TemporaryDirectory(prefix="weft-net-check-") as folder:
        command = [os.path.join(BIN, "weft-run"), "-n", "2", "--hosts", "2", "--require-hosts", f"--efa={NETWORKS[network]}",
                   *FAULTS.get(network, []), "--env", f"WEFT_EFA_DEVICE_COUNTERS={folder}/counters-%h-%p", "--prefix", "none", "--",
                   os.path.join(BIN, "weft-net-check"), *options, plugin]
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        totals = counted(folder)
    print(done.stdout, done.stderr, totals, sep="\n")
    if "weft-run: no virtual hosts" in done.stderr:
        sys.exit(SKIP)
    return done, totals


def main(network, library, fabric, plugin, *options):
    done, totals = checked(network, library, fabric, plugin, options)
    if network == "unregistered":
        assert done.returncode == 1 and "FAILED" in done.stdout, "nothing could be registered, and nobody minded"
        assert re.search(r"(regMr|listen|connect|accept) gives nccl\w+Error \(the plugin: .*(regist|receive buffer).*\)", done.stdout), "no line says why"
        assert "hangs" not in done.stdout and "crashes" not in done.stdout
        return
    assert done.returncode == 0 and ", 0 failed, " in done.stdout, f"exit status {done.returncode}"
    unkind = network == "unkind"
    for count in ("reorders", "duplicates"):
        assert (totals[count] > 20) == unkind, (count, totals)


main(*sys.argv[1:])
