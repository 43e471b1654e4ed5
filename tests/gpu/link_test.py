#!/usr/bin/env python3
"""link_test.py LIBRARY...: nothing of CUDA is needed to load them: no dependency, no undefined symbol."""
import re
import subprocess
import sys


def faults_of(dynamic, symbols):
    needed = re.findall(r"\(NEEDED\).*\[([^\]]*)\]", dynamic)
    if not needed:
        yield "readelf shows no dependency at all, not even libc"
    for name in needed:
        if re.match(r"lib(cuda|cudart|nvidia|nvrtc|nvJitLink)", name):
            yield f"needs {name}"
    for name in re.findall(r"\bU (cu[A-Z]\w*|cuda[A-Z]\w*|__cuda\w*)", symbols):
        yield f"refers to {name}"


def output_of(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def main(*libraries):
    libc = " 0x1 (NEEDED) Shared library: [libc.so.6]\n"
    assert not list(faults_of(libc, " U malloc\n U curl\n"))
    assert list(faults_of(libc + " 0x1 (NEEDED) Shared library: [libcuda.so.1]\n", ""))
    assert list(faults_of(libc, " U cuInit\n")) and list(faults_of("", ""))
    bad = [f"{library} {fault}" for library in libraries
           for fault in faults_of(output_of("readelf", "-dW", library), output_of("nm", "-D", "--undefined-only", library))]
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
