"""What tests on the software EFA device have in common: which libfabric, and what the device counted."""

import glob
import json
import os
import subprocess
import sys

SKIP = 77


def library_path(library, fabric):
    """The folder of libfabric 2.5.1 for "2x", where it can be had; None for "system", the distribution's."""
    if library == "system":
        return None
    script = os.path.join(os.environ["WEFT_TEST_SOURCE"], "tools/efa-2x.sh")
    done = subprocess.run([script, os.path.dirname(os.environ["WEFT_TEST_BIN"])], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        print(f"SKIPPED {fabric}: {done.stderr.strip()}")
        sys.exit(SKIP)
    return done.stdout.strip()


def counters_of(folder):
    """By host, all processes and NICs added up."""
    hosts = {}
    for name in glob.glob(os.path.join(folder, "counters-*")):
        if name.endswith(".new"):  # a draft of a process that ended meanwhile
            continue
        with open(name, encoding="utf-8") as file:
            process = json.load(file)
        total = hosts.setdefault(process["host"], {"processes": 0})
        total["processes"] += 1
        total["nics"] = len(process["nics"])
        for nic in process["nics"]:
            for key, value in nic.items():
                if key != "name":
                    total[key] = total.get(key, 0) + value
    return hosts
