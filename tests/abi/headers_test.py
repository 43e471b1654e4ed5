#!/usr/bin/env python3
"""headers_test.py CC CXX INCLUDE: each public header compiles alone as C11, C++11 and C++20, without
CUDA's headers and, where the toolkit is found, with them."""
import glob
import os
import shlex
import subprocess
import sys

import declared


def main(cc, cxx, include):
    cuda = declared.cuda_include()
    variants = {"without CUDA": ["-DWEFT_NO_CUDA"]}
    if cuda is None:
        print("no CUDA toolkit found: only the form without its headers is checked")
    else:
        variants["with CUDA"] = ["-isystem", cuda]
    languages = [(cc, "c", "c11"), (cxx, "c++", "c++11"), (cxx, "c++", "c++20")]
    faults = 0
    for header in sorted(glob.glob(os.path.join(include, "weft", "*.h"))):
        for what, flags in variants.items():
            for compiler, language, standard in languages:
                if what == "with CUDA" and standard == "c++11":
                    continue  # CUDA 13's own headers need C++17
                command = shlex.split(compiler) + ["-x", language, "-std=" + standard, "-fsyntax-only",
                                                   "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
                result = subprocess.run(command + flags + ["-include", header, "/dev/null"], check=False)
                if result.returncode != 0:
                    print(f"{header} {what} as {standard}: does not compile alone")
                    faults += 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
