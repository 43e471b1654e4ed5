#!/usr/bin/env python3
"""compile.py NVCC ARCHS TYPE SOURCE ROOT FATBIN REPORT PTX: the kernels of one data type.

ARCHS is a comma list such as 75,80,90. FATBIN gets machine code for each and PTX for the newest,
compressed. REPORT gets what the assembler says of every kernel (stack, spills, registers), PTX the
text of all architectures one after the other: tests read both. Next to FATBIN a file FATBIN.d lists
what was read, for ninja.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile


def archs_read(text):
    """Ascending numbers; a name that is none of ours ends with one line."""
    archs = [arch.strip() for arch in text.split(",") if arch.strip()]
    for arch in archs:
        if not re.fullmatch(r"[1-9]\d{1,2}", arch):
            sys.exit(f"-Dgpu_archs={text}: '{arch}' is not an architecture: give numbers such as 75,80,90,100 "
                     "(variants such as 90a run on one chip only and are not built)")
    if not archs:
        sys.exit("-Dgpu_archs names no architecture: give numbers such as 75,80,90,100, or build with -Dcuda=disabled")
    return sorted(set(archs), key=int)


def architectures(archs):
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    return flags + [f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]


def failed(result, archs, nvcc):
    print(result.stdout, file=sys.stderr)
    if re.search(r"Unsupported gpu architecture", result.stdout):
        sys.exit(f"{nvcc} does not know all of -Dgpu_archs={','.join(archs)}: leave out what it refuses above")
    sys.exit(result.returncode or 1)


def main(nvcc, archs, kind, source, root, fatbin, report, ptx):
    archs = archs_read(archs)
    with tempfile.TemporaryDirectory() as kept:
        # -fmad=false: a product is rounded before it is added to, as on the host.
        command = [nvcc, "-std=c++20", "--expt-relaxed-constexpr", "-fmad=false", "-Werror=all-warnings",
                   "-Xptxas=-v", "-Xfatbin=-compress-all", f"-DWEFT_DEVICE_TYPE={kind}", f"-I{root}",
                   "-MD", "-MF", fatbin + ".d", "-MT", os.path.relpath(fatbin),
                   "--keep", f"--keep-dir={kept}", "-fatbin", "-o", fatbin, source] + architectures(archs)
        result = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.returncode != 0 or not os.path.isfile(fatbin):
            failed(result, archs, nvcc)
        texts = sorted(glob.glob(os.path.join(kept, "*.ptx")))
        with open(ptx, "w", encoding="utf-8") as out:
            for name in texts:
                with open(name, encoding="utf-8") as text:
                    out.write(text.read())
    with open(report, "w", encoding="utf-8") as out:
        out.write(result.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
