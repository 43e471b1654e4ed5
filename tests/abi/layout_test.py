#!/usr/bin/env python3
"""layout_test.py CC CXX INCLUDE LAYOUT.c: our nccl.h against NVIDIA's, where one is found (77 without).

Two programs are compiled against each header: layout.c prints sizes, offsets, values; a list of all
functions NVIDIA declares prints their types. Ours must say the same.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile

import declared

TYPES = """
#include <nccl.h>
#include <cstdio>
template <class T>
static void show(const char* name) {
    std::printf("%%s %%s\\n", name, __PRETTY_FUNCTION__);
}
int main() {
%s
}
"""


def build_and_run(compiler, flags, source, folder):
    program = os.path.join(folder, "program")
    subprocess.run(shlex.split(compiler) + flags + [source, "-o", program], check=True)
    return subprocess.run([program], check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()


def layout_differences(real, own):
    if len(real) != len(own):
        yield f"{len(real)} lines from NVIDIA's header, {len(own)} from ours"
    for theirs, mine in zip(real, own):
        their_key, their_value = theirs.rsplit(" ", 1)
        my_key, my_value = mine.rsplit(" ", 1)
        if their_key.startswith("grows") and their_key == my_key and int(my_value) >= int(their_value):
            continue
        if theirs != mine:
            yield f"theirs: {theirs}   ours: {mine}"


def type_differences(real, own):
    # The tag behind ncclConfig_t carries the version of the header.
    def plain(line):
        return re.sub(r"ncclConfig_v\d+", "ncclConfig", line)
    for theirs, mine in zip(real, own):
        if plain(theirs) != plain(mine):
            yield f"theirs: {theirs}   ours: {mine}"


def main(cc, cxx, include, layout_source):
    header, cuda = declared.real_header(), declared.cuda_include()
    if header is None or cuda is None:
        print("skipped: no real nccl.h with its CUDA headers found (WEFT_REAL_NCCL names a folder)")
        return declared.SKIP
    version = declared.version_code(header)
    print(f"compared with {header}, version {version}")
    flags = {
        "real": ["-I" + os.path.dirname(header), "-isystem", cuda],
        "ours": ["-I" + os.path.join(include, "weft"), "-isystem", cuda],
    }
    names = [name for name in declared.functions(header) if not name.endswith("ResetDebugInit")]
    with tempfile.TemporaryDirectory() as folder:
        types = os.path.join(folder, "types.cpp")
        with open(types, "w") as file:
            file.write(TYPES % "\n".join(f'    show<decltype({name})>("{name}");' for name in names))
        layout = {side: build_and_run(cc, ["-std=c11", f"-DABI_VERSION={version}"] + flags[side],
                                      layout_source, folder) for side in flags}
        function = {side: build_and_run(cxx, ["-std=c++17"] + flags[side], types, folder) for side in flags}
    print(f"{len(layout['real'])} facts, {len(names)} function types")
    faults = list(layout_differences(layout["real"], layout["ours"]))
    faults += type_differences(function["real"], function["ours"])
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
