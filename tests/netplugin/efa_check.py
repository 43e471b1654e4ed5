"""weft-net-check between two virtual hosts that the software EFA device joins: efa_check.py NETWORK LIBRARY FABRIC PLUGIN [OPTION...]. NETWORK is "kind"
(in order), "unkind" (reordered, placed twice and in pieces, which the device's counters must confirm) or "unregistered" (no memory can be registered, and
the plugin must say so); LIBRARY as for tests/conformance/efa; OPTION goes to the checker. 77: this machine does not allow virtual hosts, or has no such
libfabric."""

import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.environ["WEFT_TEST_SOURCE"], "tests"))
import efa_device

BIN = os.environ["WEFT_TEST_BIN"]
NETWORKS = {"kind": "nics=2", "unkind": "nics=2,reorder=200us,duplicate=10%,twice=5%,torn,seed=31", "unregistered": "nics=2"}
FAULTS = {"unregistered": ["--efa-faults=mr-fail pages=90000"]}  # libfabric's own pools fit
SKIP = 77


def checked(network, library, fabric, plugin, options):
    """Output and exit status of the checker, and what the device counted."""
    # MALLOC_PERTURB_, which Meson sets, fills freed memory: libfabric 1.17 reads the endpoint that it has freed when one is closed
    # (rxr_ep_release_device_cq after fi_close of rdm_ep, prov/efa/src/rxr/rxr_ep.c) and dies of what it finds.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "FI_", "OMPI_", "PMI", "LD_", "MALLOC_"))}
    env.update(WEFT_PROVIDER=fabric, WEFT_INIT_TIMEOUT="20")
    if folder := efa_device.library_path(library, fabric):
        env["WEFT_LIBFABRIC"] = f"{folder}/libfabric.so.1"
    with tempfile.TemporaryDirectory(prefix="weft-net-check-") as folder:
        command = [os.path.join(BIN, "weft-run"), "-n", "2", "--hosts", "2", "--require-hosts", f"--efa={NETWORKS[network]}",
                   *FAULTS.get(network, []), "--env", f"WEFT_EFA_DEVICE_COUNTERS={folder}/counters-%h-%p", "--prefix", "none", "--",
                   os.path.join(BIN, "weft-net-check"), *options, plugin]
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        hosts = efa_device.counters_of(folder).values()
    totals = {name: sum(host.get(name, 0) for host in hosts) for name in ("packets", "reorders", "duplicates")}
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
