"""A conformance suite over libfabric's efa provider on the software EFA device: wires_test.py LIBRARY FABRIC RAILS NETWORK SUITE. LIBRARY as for
device_test.py; SUITE is the program: every clause of the wire contract, or the fabric wire by itself; NETWORK "kind" (in order), "reordered",
"unkind" (reordered, placed twice and in pieces) or "impatient" (a NIC that does not answer is given up soon, for suites that stop processes).
77: there is no such libfabric."""

import os
import subprocess
import sys

BIN = os.environ["WEFT_TEST_BIN"]
SOURCE = os.environ["WEFT_TEST_SOURCE"]
NETWORKS = {"kind": "", "reordered": ",reorder=100us,seed=20", "unkind": ",reorder=100us,duplicate=10%,twice=5%,torn,seed=21",
            "impatient": ",unresponsive=3s"}


def main(library, fabric, rails, network, suite):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FI_", "NCCL_")) and (k.startswith("WEFT_TEST_") or not k.startswith("WEFT_"))}
    env.update(TEST_WIRES="fabric", TEST_FABRIC=fabric, WEFT_TEST_PROVIDER=fabric, FI_EFA_ENABLE_SHM_TRANSFER="0", NCCL_DEBUG="NONE")
    if library == "2x":
        done = subprocess.run([os.path.join(SOURCE, "tools/efa-2x.sh"), os.path.dirname(BIN)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"SKIPPED {fabric}: {done.stderr.strip()}")
            return 77
        env["WEFT_LIBFABRIC"] = done.stdout.strip() + "/libfabric.so.1"
        env["LD_LIBRARY_PATH"] = done.stdout.strip()
    command = [os.path.join(BIN, "weft-run"), "-n", "1", "--prefix", "none", f"--efa=nics={rails}{NETWORKS[network]}", "--timeout", "500", "--", suite]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, check=False).returncode


sys.exit(main(*sys.argv[1:]))
