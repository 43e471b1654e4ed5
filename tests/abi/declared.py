"""What the tests here share: the functions a header declares, and where a real NCCL is."""
import glob
import importlib.util
import os
import re

SKIP = 77


def text_strip(text):
    """Header text without comments and preprocessor lines."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
    text = re.sub(r"\\\n", " ", text)
    return re.sub(r"^[ \t]*#[^\n]*", " ", text, flags=re.M)


def functions(path):
    """Names of the functions a header declares."""
    with open(path) as header:
        text = text_strip(header.read())
    plain = re.findall(r"\b(p?(?:nccl|weft)[A-Z]\w*)\s*\([^(){};]*\)\s*;", text)
    twins = re.findall(r"__typeof__\((nccl\w+)\)\s+(\w+)\s*;", text)
    for name, twin in twins:
        assert twin == "p" + name, f"{path}: {twin} is declared as the twin of {name}"
    return sorted(set(plain) | {twin for _, twin in twins})


def ours(include):
    """All functions of our public headers."""
    headers = sorted(glob.glob(os.path.join(include, "weft", "*.h")))
    return sorted({name for header in headers for name in functions(header)})


def version_code(header):
    """The version a real header states, or None when the file is not NVIDIA's."""
    with open(header) as file:
        text = file.read()
    if "WEFT_" in text:
        return None
    parts = [re.search(rf"#define NCCL_{part} (\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    if not all(parts):
        return None
    major, minor, patch = (int(part.group(1)) for part in parts)
    return major * 10000 + minor * 100 + patch


def _real_roots():
    roots = [os.environ.get(name) for name in ("WEFT_REAL_NCCL", "NCCL_HOME", "CUDA_HOME", "CUDA_PATH")]
    try:
        wheel = importlib.util.find_spec("nvidia.nccl")
    except ModuleNotFoundError:
        wheel = None
    if wheel is not None:
        roots += wheel.submodule_search_locations
    return [root for root in roots if root] + sorted(glob.glob("/usr/local/cuda*")) + ["/usr"]


def _first(folders, name, good):
    for root in _real_roots():
        if os.path.isfile(root):
            root = os.path.dirname(os.path.dirname(os.path.realpath(root)))
        for folder in folders:
            path = os.path.join(root, folder, name)
            if os.path.isfile(path) and good(path):
                return path
    return None


def real_header():
    """NVIDIA's nccl.h: in WEFT_REAL_NCCL (a folder with include/ and lib/, or the library), in
    NCCL_HOME, a CUDA toolkit, a Python wheel or /usr. None when there is none."""
    return _first(("include",), "nccl.h", version_code)


def real_library():
    """NVIDIA's libnccl.so.2, searched in the same places."""
    def is_real(path):
        with open(path, "rb") as file:
            return b"weftGetVersion" not in file.read(1 << 20)
    return _first(("lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"), "libnccl.so.2", is_real)


def cuda_include():
    """The folder of cuda_runtime.h, or None."""
    return next((os.path.join(root, "include") for root in _real_roots()
                 if os.path.isfile(os.path.join(root, "include", "cuda_runtime.h"))), None)
