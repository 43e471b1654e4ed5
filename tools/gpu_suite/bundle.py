#!/usr/bin/env python3
"""bundle.py BUILD OUT [--libfabric PATH | --without-libfabric] [--no-ninja]: what the suite needs on a GPU machine, in one folder and a tarball.

OUT gets libnccl.so.2 and weft-gpu-check (both with the C++ runtime inside and RPATH $ORIGIN), every library they need but glibc's and CUDA's,
the runner and the clients; OUT.tar.gz the same, at most 40 MiB. Libraries of others have no run path of their own and are found by ours:
RPATH, other than RUNPATH, counts for what is loaded on its behalf.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
BYTES_MAX = 40 << 20
OURS = ["libnccl.so.2", "libweft-devices.so", "weft-gpu-check"]
SCRIPTS = ["cases.py", "page.py", "page.md", "pairs.py", "running.py", "suite.py", "summary.py"]
# Of the machine: glibc, and the driver. libstdc++ and libgcc are inside ours; what others bring of them is left to the machine too.
OF_THE_MACHINE = re.compile(r"(linux-vdso|ld-linux.*|libc|libm|libdl|libpthread|librt|libresolv|libutil|libanl|libmvec|libnsl|libnss_.*"
                            r"|libstdc\+\+|libgcc_s|libcuda)\.so.*")
NEWEST_GLIBC = (2, 36)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("out")
    parser.add_argument("--libfabric", help="this libfabric.so.1 instead of the loader's")
    parser.add_argument("--without-libfabric", action="store_true", help="ranks of one host need none")
    parser.add_argument("--no-ninja", action="store_true", help="the build is up to date")
    return parser.parse_args()


def said(*command):
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def needed(path):
    """(name, file) of every library that the loader finds for it, itself left out."""
    found = []
    for line in said("ldd", path).splitlines():
        match = re.match(r"\s*(\S+) => (\S+)", line)
        if match and match.group(2) == "not":
            sys.exit(f"{path} needs {match.group(1)}, which the loader does not find here: install it")
        if match and not OF_THE_MACHINE.fullmatch(match.group(1)):
            found.append((match.group(1), match.group(2)))
    return found


def libfabric_of(options):
    if options.without_libfabric:
        return None
    if options.libfabric:
        return options.libfabric
    match = re.search(r"libfabric\.so\.1 .*=> (\S+)", said("/sbin/ldconfig", "-p"))
    return match.group(1) if match else None


def copied(source, target):
    shutil.copyfile(os.path.realpath(source), target)
    os.chmod(target, 0o755)


def collect(options):
    made = os.path.join(options.build, "tools", "gpu_suite")
    for name in OURS:
        path = os.path.join(made, name)
        if not os.path.exists(path):
            sys.exit(f"no {path}: build it with `ninja -C {options.build} {' '.join('tools/gpu_suite/' + one for one in OURS)}`; device code must be enabled")
        copied(path, os.path.join(options.out, name))
    roots = [os.path.join(made, name) for name in OURS]
    libfabric = libfabric_of(options)
    if libfabric:
        copied(libfabric, os.path.join(options.out, "libfabric.so.1"))
        roots.append(libfabric)
    for root in roots:
        for name, file in needed(root):
            if name not in OURS:
                copied(file, os.path.join(options.out, name))
    for name in SCRIPTS:
        shutil.copy(os.path.join(HERE, name), options.out)
    shutil.copytree(os.path.join(HERE, "clients"), os.path.join(options.out, "clients"), dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__"))


def faults(out):
    """What would not work elsewhere."""
    for name in OURS:
        dynamic = said("readelf", "-d", os.path.join(out, name))
        runpath = re.findall(r"\((RPATH|RUNPATH)\)\s+Library \w+: \[(.*)\]", dynamic)
        if runpath and runpath[0][0] != "RPATH" or not any("$ORIGIN" in path for _, path in runpath):
            yield f"{name} has no RPATH of $ORIGIN: {runpath}"
        for library in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
            if re.match(r"libstdc\+\+|libgcc_s|libcuda", library):
                yield f"{name} needs {library}, which must be inside or loaded at run time"
            elif not OF_THE_MACHINE.fullmatch(library) and not os.path.exists(os.path.join(out, library)):
                yield f"{name} needs {library}, which is not in the bundle"
        glibc = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+\.\d+)", said("readelf", "-V", os.path.join(out, name)))}
        if glibc and max(glibc) > NEWEST_GLIBC:
            yield f"{name} needs glibc {'.'.join(map(str, max(glibc)))}; build on a machine with {'.'.join(map(str, NEWEST_GLIBC))}"


def main():
    options = arguments()
    options.out = os.path.abspath(options.out)
    os.makedirs(options.out, exist_ok=True)
    if not options.no_ninja:
        subprocess.run(["ninja", "-C", options.build, *("tools/gpu_suite/" + name for name in OURS)], check=True, stdin=subprocess.DEVNULL)
    collect(options)
    found = list(faults(options.out))
    archive = options.out + ".tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(options.out, arcname=os.path.basename(options.out))
    unpacked = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(options.out) for name in names)
    if unpacked > BYTES_MAX:
        found.append(f"{options.out} has {unpacked / (1 << 20):.1f} MiB, at most {BYTES_MAX >> 20}: leave libfabric out with --without-libfabric")
    print(f"{options.out}: {unpacked / (1 << 20):.1f} MiB, {archive}: {os.path.getsize(archive) / (1 << 20):.1f} MiB")
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
