#!/usr/bin/env python3
"""The dynamic symbols of a built library.

symbols_test.py LIBRARY SONAME INCLUDE: what it exports is exactly what our headers declare, each
nccl* weak over a strong pnccl* at the same address; its soname and the nodelete flag are right.
symbols_test.py --real LIBRARY: nothing that a real libnccl.so.2 exports is missing (77 without one).
"""
import re
import subprocess
import sys

import declared

# NVIDIA's 2.28 library exports it, no header declares it.
UNDECLARED = {"ncclResetDebugInitInternal"}


def exported(library):
    """name -> (address, type letter of nm)"""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, text=True,
                           stdout=subprocess.PIPE).stdout.splitlines()
    fields = (line.split() for line in lines)
    return {name.split("@")[0]: (address, kind) for address, kind, name in fields}


def dynamic_check(library, soname):
    text = subprocess.run(["readelf", "-dW", library], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    if f"Library soname: [{soname}]" not in text:
        yield f"the soname is not {soname}"
    if not re.search(r"FLAGS_1\b.*\bNODELETE\b", text):
        yield "the NODELETE flag is missing: dlclose would unmap a library that has threads"


def symbols_check(symbols, include):
    names = declared.ours(include)
    for name in sorted(set(symbols) - set(names) - UNDECLARED):
        yield f"{name} is exported and no public header declares it"
    for name in sorted(set(names) - set(symbols)):
        yield f"{name} is declared and not exported"
    for name in sorted(set(symbols) & set(names)):
        address, kind = symbols[name]
        if not name.startswith("nccl"):
            if kind != "T":
                yield f"{name} is not a strong function symbol ({kind})"
        elif kind != "W":
            yield f"{name} is not weak ({kind}): a profiler could not replace it"
        elif symbols.get("p" + name, (None,))[0] != address:
            yield f"{name} and p{name} are not the same function"


def real_check(library):
    real = declared.real_library()
    if real is None:
        print("skipped: no real libnccl.so.2 found (WEFT_REAL_NCCL names one)")
        sys.exit(declared.SKIP)
    print(f"compared with {real}")
    have = exported(library)
    for name, (_, kind) in sorted(exported(real).items()):
        if name not in have:
            yield f"{name} ({kind}) is missing"
        elif kind == "W" and have[name][1] != "W":
            yield f"{name} is weak there and not here"


def main(args):
    if args[0] == "--real":
        faults = list(real_check(args[1]))
    else:
        library, soname, include = args
        symbols = exported(library)
        print(f"{len(symbols)} symbols")
        faults = list(dynamic_check(library, soname)) + list(symbols_check(symbols, include))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
