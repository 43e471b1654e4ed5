"""What stays registered and what is copied, counted through the public API: memory_test.py PLACE CASE WORKER. Two processes that talk
over tcp;ofi_rxm alone, on two rails ("tcp"), or over the system's efa provider on the software EFA device ("efa"), which locks and keys
memory as the NIC does. The work and its checks are in worker.cpp. 77: this machine does not allow virtual hosts."""

import os
import subprocess
import sys

place, case, worker = sys.argv[1:]
CASES = {
    "lib": {},
    "named": {},
    "heap": {},
    "small": {"WEFT_STAGE_BYTES": str(1 << 20)} if place == "tcp" else {},  # what EFA takes by itself
    "many": {"WEFT_STAGE_BYTES": str(1 << 20)},
    "budget": {"WEFT_REGISTERED_MEMORY": "12"},
    "abort": {},
}
PLACES = {
    "tcp": ([], {"WEFT_TRANSPORT": "fabric", "WEFT_PROVIDER": "tcp;ofi_rxm", "WEFT_RAILS": "127.0.0.1,127.0.0.2"}),
    "efa": (["--hosts", "2", "--require-hosts", "--efa=nics=2,reorder=200us,duplicate=10%,twice=5%,torn,seed=7"], {"WEFT_PROVIDER": "efa"}),
}
keep = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "FI_", "OMPI_", "PMI", "LD_"))}
options, settings = PLACES[place]
command = [os.path.join(os.environ["WEFT_TEST_BIN"], "weft-run"), "-n", "2", *options, "--prefix", "all", "--timeout", "90", "--", worker, case]
done = subprocess.run(command, env={**keep, **settings, **CASES[case]}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110,
                      check=False)
sys.stdout.write(done.stdout + done.stderr)
sys.exit(77 if "weft-run: no virtual hosts" in done.stderr else done.returncode)
