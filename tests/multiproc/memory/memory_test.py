"""What stays registered and what is copied, counted through the public API: memory_test.py CASE WORKER. Two processes that talk over
tcp;ofi_rxm alone, on two rails. The work and its checks are in worker.cpp."""

import os
import subprocess
import sys

case, worker = sys.argv[1:]
CASES = {
    "lib": {},
    "named": {},
    "heap": {},
    "small": {"WEFT_STAGE_BYTES": str(1 << 20)},
    "many": {"WEFT_STAGE_BYTES": str(1 << 20)},
    "budget": {"WEFT_REGISTERED_MEMORY": "12"},
    "abort": {},
}
keep = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "OMPI_", "PMI"))}
place = {"WEFT_TRANSPORT": "fabric", "WEFT_PROVIDER": "tcp;ofi_rxm", "WEFT_RAILS": "127.0.0.1,127.0.0.2"}
command = [os.path.join(os.environ["WEFT_TEST_BIN"], "weft-run"), "-n", "2", "--prefix", "all", "--timeout", "90", "--", worker, case]
done = subprocess.run(command, env={**keep, **place, **CASES[case]}, stdin=subprocess.DEVNULL, timeout=110, check=False)
sys.exit(done.returncode)
