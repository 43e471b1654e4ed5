#!/usr/bin/env python3
"""link_test.py CC INCLUDE LIBRARY: a C program that names every declared function links against the
library and starts with all of them bound."""
import os
import shlex
import subprocess
import sys
import tempfile

import declared

PROGRAM = """
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#include <nccl.h>
#include <nccl_device.h>
#include <stdio.h>
#include <weft.h>
static void (*const functions[])(void) = {
%s
};
int main(void) {
    unsigned found = 0;
    for (unsigned i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        found += functions[i] != NULL;
    }
    int version = 0;
    printf("%%u functions\\n", found);
    return ncclGetVersion(&version) != ncclSuccess || version != NCCL_VERSION_CODE;
}
"""


def main(cc, include, library):
    names, library = declared.ours(include), os.path.abspath(library)
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "program.c"), os.path.join(folder, "program")
        with open(source, "w") as file:
            file.write(PROGRAM % "\n".join(f"    (void (*)(void)){name}," for name in names))
        subprocess.run(shlex.split(cc) + ["-std=c11", "-Wall", "-Wextra", "-Werror", "-DWEFT_NO_CUDA",
                                          "-I" + os.path.join(include, "weft"), source, library,
                                          "-Wl,--no-undefined", "-o", program], check=True)
        env = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(library), LD_BIND_NOW="1")
        return subprocess.run([program], check=False, env=env).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
