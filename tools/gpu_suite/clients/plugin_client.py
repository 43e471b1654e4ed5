"""The net plugin in NCCL itself: plugin_client.py RANKS. The machine's NCCL (a wheel's, the loader's or WEFT_SUITE_NCCL) runs weft-gpu-check, a
process a rank, all on one GPU and each with an NCCL_HOSTID of its own, so that NCCL takes them for hosts and everything goes over the network.
Results are compared over the plugin; rates are taken over the plugin, over NCCL's own sockets, and with our library on the same virtual hosts."""

import ctypes
import glob
import importlib.util
import json
import os
import re
import subprocess
import sys
import time

import client

LIBRARY = os.environ.get("WEFT_SUITE_LIBRARY", "")
BUNDLE = os.path.dirname(LIBRARY)
PLUGIN = os.path.join(BUNDLE, "libnccl-net-weft.so")
CHECK = os.path.join(BUNDLE, "weft-gpu-check")
# Of two sizes: by value, and by grants. Those NCCL has long had, then those that came with 2.28.
CALLS = [(coll, count) for coll in ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "sendrecv", "alltoall") for count in (500, 300001)]
SYMBOLS = {"alltoall": "ncclAlltoAll"}
TCP = {"WEFT_PROVIDER": "tcp;ofi_rxm", "WEFT_RAILS": "127.0.0.1"}
NETWORKS = {
    "plugin": {"NCCL_NET_PLUGIN": "weft", "NCCL_NET": "Weft", **TCP},
    "sockets": {"NCCL_NET_PLUGIN": "none", "NCCL_NET": "Socket"},
    "library": TCP,
}
USED = {"plugin": re.compile(r"Using network Weft\b"), "sockets": re.compile(r"Using network Socket\b"), "library": re.compile(r"Using network fabric\b")}
RATES = ["--bytes", "32M", "--rounds", "5"]
PATIENCE = 60


def nccl_found():
    """The file of an NCCL that is not ours; None."""
    named = os.environ.get("WEFT_SUITE_NCCL")
    if named:
        return named
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = glob.glob(os.path.join(place, "nccl", "lib", "libnccl.so.2"))
        if found:
            return found[0]
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"libnccl\.so\.2 .*=> (\S+)", listed)
    return match.group(1) if match else None


def environment(network, nccl, port, rank):
    """Everything between the ranks is on the loopback."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NCCL_", "LD_PRELOAD")) and k != "WEFT_DEVICE"}
    path = f"{BUNDLE}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    return {**kept, "LD_PRELOAD": LIBRARY if network == "library" else nccl, "LD_LIBRARY_PATH": path, "NCCL_DEBUG": "INFO", "NCCL_COMM_ID": f"127.0.0.1:{port}",
            "NCCL_SOCKET_IFNAME": "lo", "NCCL_IB_DISABLE": "1", "NCCL_HOSTID": f"weft-suite-{rank}", **NETWORKS[network]}


def result_of(text):
    lines = [line for line in text.splitlines() if line.startswith("RESULT ")]
    return json.loads(lines[-1][len("RESULT "):]) if lines else {"result": "crash", "why": "ended without a result", "values": {}}


def ended(running):
    end = time.monotonic() + PATIENCE
    for _, process in running:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return [client.text_of(out) for out, _ in running]


def run(network, nccl, ranks, arguments):
    """Values of the first rank; ends the client where a rank failed or used another network."""
    port = client.port_free()
    own = [] if network == "library" else ["--foreign"]
    command = [CHECK, *arguments, *own, "--mode", "process", "--ranks", str(ranks), "--deadline", str(PATIENCE - 15)]
    running = [client.process_start([*command, "--rank", str(rank)], environment(network, nccl, port, rank)) for rank in range(ranks)]
    texts = ended(running)
    what = f"{' '.join(arguments)} over {network}"
    for rank, text in enumerate(texts):
        found = result_of(text)
        if found["result"] != "pass":
            print("\n".join(texts), flush=True)
            client.finish("fail", f"{what}: rank {rank}: {found['result']}: {found['why']}")
        if not USED[network].search(text):
            print("\n".join(texts), flush=True)
            client.finish("fail", f"{what}: rank {rank} does not say that it uses it")
    return result_of(texts[0])["values"]


def rates(nccl, ranks, networks, arguments):
    values = {}
    for network in networks:
        for name, value in run(network, nccl, ranks, ["rates", *arguments]).items():
            if name.endswith("_us"):
                values[f"{network}_{name}"] = value
    return values


def main(ranks):
    nccl = nccl_found()
    if nccl is None:
        client.finish("skip", "no NCCL: neither a wheel's nor the loader's, and WEFT_SUITE_NCCL is not set")
    if os.environ.get("WEFT_LIBCUDA") and "WEFT_SUITE_NCCL" not in os.environ:
        client.finish("skip", f"{nccl} knows the machine's own driver only")
    handle, version = ctypes.CDLL(nccl), ctypes.c_int()
    handle.ncclGetVersion(ctypes.byref(version))
    calls = [(coll, count) for coll, count in CALLS if hasattr(handle, SYMBOLS.get(coll, "ncclAllReduce"))]
    for coll, count in calls:
        run("plugin", nccl, ranks, ["correct", "--coll", coll, "--count", str(count), "--type", "float"])
    values = {"nccl": version.value, "nccl_file": nccl, "calls": len(calls), **rates(nccl, ranks, NETWORKS, RATES)}
    for coll in ("all_gather", "all_reduce", "reduce_scatter"):
        sockets = values[f"sockets_{coll}_us"]
        values[f"plugin_{coll}_times_sockets"] = sockets / values[f"plugin_{coll}_us"]
        values[f"library_{coll}_times_sockets"] = sockets / values[f"library_{coll}_us"]
    client.finish("pass", **values)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        client.finish("fail", f"{type(error).__name__}: {error}")
