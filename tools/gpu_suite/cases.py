"""The tests of every stage, those that tell most first, and the bars their figures are held to."""

import dataclasses

import pairs

RELAY = {"WEFT_DEVICE_RELAY": "1"}
BOARD = {"WEFT_DEVICE_BOARD": "1"}
# By which way ranks work together; others are the library's choice.
HOSTS = {"WEFT_DEVICE_HOSTS": "2"}
WAYS = {"relay": RELAY, "board": BOARD, "hosts": HOSTS, "process relay": RELAY, "process hosts": HOSTS}
# What a failure is tried again with, one at a time.
SWITCHES = {
    "threads instead of a gang": (["--mode", "threads"], {}),
    "a gang instead of threads": (["--mode", "gang"], {}),
    "LL off": ([], {"NCCL_PROTO": "Simple"}),
    "relay": ([], RELAY),
    "boards": ([], BOARD),
    "direct plans": ([], {"NCCL_ALGO": "direct"}),
    "tiles of 64 KiB": ([], {"WEFT_TILE_BYTES": "65536"}),
    "blocks of 32 threads": ([], {"WEFT_DEVICE_THREADS": "32"}),
    "one vector at a time": ([], {"WEFT_DEVICE_LOOPS": "single"}),
    "no vectors": ([], {"WEFT_DEVICE_LOOPS": "elements"}),
}


def switched(case):
    """(name, the case with it) of every switch that changes it."""
    for name, (more, env) in SWITCHES.items():
        threads = "threads" in case.arguments
        same = name.startswith("threads") if threads else name.startswith("a gang")
        if not same and (more or any(case.env.get(key) != value for key, value in env.items())):
            yield name, dataclasses.replace(case, arguments=case.arguments + more, env={**case.env, **env}, deadline=min(case.deadline, 20))


TYPES = ["int8", "uint8", "int32", "uint32", "int64", "uint64", "half", "float", "double", "bfloat16", "f8e4m3", "f8e5m2"]
OPS = ["sum", "prod", "max", "min", "avg", "mulsum"]
COLLS = ["all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "alltoall", "gather", "scatter", "sendrecv"]
REDUCING = ["all_reduce", "reduce_scatter", "reduce"]
FACTORS = {
    "coll": COLLS,
    "type": TYPES,
    "op": OPS,
    "count": [0, 1, 37, 1025, 70001],
    "in_place": [False, True],
    "ranks": [2, 3, 8],
    "mode": ["gang", "threads", "board", "hosts", "relay"],
}


@dataclasses.dataclass
class Case:
    """`arguments` of weft-gpu-check, or a `script` of clients/; `processes` > 1: so many, a rank each."""
    name: str
    arguments: list
    deadline: int = 40
    env: dict = dataclasses.field(default_factory=dict)
    processes: int = 1
    kind: str = ""
    script: str = ""
    sanitizer: str = ""
    bars: list = dataclasses.field(default_factory=list)


def check(name, *arguments, **more):
    return Case(name, [str(a) for a in arguments], **more)


def correct(name, mode="gang", ranks=2, coll="all_reduce", **more):
    """One call, `mode` being gang, threads, board, hosts, relay, process, process hosts or process relay."""
    arguments = ["correct", "--coll", coll, "--ranks", ranks]
    for key in ("type", "op", "count"):
        if key in more:
            arguments += ["--" + key, more.pop(key)]
    arguments += ["--in-place"] if more.pop("in_place", False) else []
    how = mode.split()[0]
    if how in ("threads", "process"):
        arguments += ["--mode", how]
    return check(name, *arguments, env=WAYS.get(mode, {}), kind=f"{coll} {mode}", processes=ranks if how == "process" else 1, **more)


def windows(name, mode="gang", ranks=3, count=150001):
    """What can be read in place, in windows and after them, large enough that it is; one process by boards, or one a rank."""
    processes = ranks if mode == "process" else 1
    return check(name, "windows", "--ranks", ranks, "--count", count, "--mode", mode, env={} if processes > 1 else BOARD, kind="windows", processes=processes,
                 deadline=60)


def crossed(name, mode="threads", ranks=4, count=4_000_003):
    """Messages of many parts whose peers call in another order."""
    how = mode.split()[0]
    return check(name, "crossed", "--ranks", ranks, "--count", count, "--mode", "process" if how == "process" else "threads", env=WAYS.get(mode, {}),
                 kind=f"crossed {mode}", processes=ranks if how == "process" else 1, deadline=60)


def probe(quick):
    rounds = 20 if quick else 1000
    copy = ["--bytes", "4M", "--rounds", "2"] if quick else []
    cases = [
        check("facts", "facts"),
        check("health", "health"),
        check("litmus", "litmus", "--rounds", rounds),
        check("memory of processes", "memory"),
        check("copy", "copy", *copy),
        correct("gang 2 small", count=10),
        correct("gang 2", count=300000),
        correct("gang 8", ranks=8, count=100000),
        correct("threads 2", mode="threads", count=100000),
        correct("threads 8", mode="threads", ranks=8, count=70000),
        correct("board 2", mode="board", count=100000),
        correct("board 8", mode="board", ranks=8, count=3000000),
        correct("hosts 2", mode="hosts", count=100000),
        correct("hosts 8", mode="hosts", ranks=8, count=3000000),
        correct("relay 2", mode="relay", count=100000),
        correct("processes 2", mode="process", count=100000, deadline=60),
        correct("processes 4", mode="process", ranks=4, count=3000000, deadline=60),
        correct("processes 4 hosts", mode="process hosts", ranks=4, count=3000000, deadline=60),
        correct("processes 2 relay", mode="process relay", count=100000, deadline=60),
        check("graph gang", "graph", "--count", "5000", "--rounds", "16", kind="graph"),
        check("graph board", "graph", "--count", "5000", "--rounds", "16", env=BOARD, kind="graph"),
        check("graph hosts", "graph", "--count", "5000", "--rounds", "16", env=HOSTS, kind="graph"),
        check("graph relay", "graph", "--count", "5000", "--rounds", "16", env=RELAY, kind="graph"),
        check("abort", "abort", "--count", "300000", kind="abort"),
        check("abort small", "abort", "--count", "10", kind="abort"),
        check("abort board", "abort", "--count", "300000", env=BOARD, kind="abort"),
        check("abort hosts", "abort", "--count", "300000", env=HOSTS, kind="abort"),
        check("abort relay", "abort", "--count", "300000", env=RELAY, kind="abort"),
    ]
    for tile in ([] if quick else [65536, 262144, 1048576]):
        cases.append(check(f"slice {tile >> 10} KiB", "rates", "--bytes", "64M", "--ranks", "8", env={"WEFT_TILE_BYTES": str(tile)}))
    return cases


def allowed(case):
    if case["coll"] not in REDUCING and case["op"] != "sum":
        return False
    if case["in_place"] and case["coll"] in ("alltoall", "sendrecv"):
        return False
    if case["mode"] == "hosts" and case["ranks"] % 2 != 0:
        return False
    floats = TYPES.index(case["type"]) >= TYPES.index("half")
    return case["op"] != "avg" or not floats or case["ranks"] in (2, 8)


def correct_stage(quick):
    cases = []
    for mode in ("gang", "threads", "board", "hosts", "relay"):
        for count in (5, 3001):
            case = correct(f"every type and operation, {mode}, {count}", mode=mode, count=count, deadline=90)
            case.arguments.append("--all")
            cases.append(case)
    cases = cases[:1] if quick else cases
    large = 600_003 if quick else 4_000_003
    cases += [crossed(f"crossed {mode}", mode, count=large) for mode in ("threads", "board", "hosts", "relay", "process", "process hosts", "process relay")]
    cases += [windows("windows gang"), windows("windows threads", mode="threads"), windows("windows 2 processes", mode="process", ranks=2)]
    cases += [] if quick else [windows("windows 4 processes", mode="process", ranks=4, count=1000003)]
    for one in pairs.select(FACTORS, allowed)[:6 if quick else None]:
        name = " ".join(str(one[key]) for key in ("coll", "type", "op", "count", "ranks", "mode")) + (" in place" if one["in_place"] else "")
        cases.append(correct(name, **one))
    for tool in ("memcheck", "initcheck", "synccheck"):
        cases.append(correct(f"{tool} of a gang", ranks=4, count=20000, sanitizer=tool, deadline=120))
    return cases


# (value, least or most, limit). Ratios are against the best copy of the same run.
def rate_bars(least):
    return [(f"{coll}_ratio", "least", least) for coll in ("all_gather", "all_reduce", "reduce_scatter")]


def rates_in_windows(bytes_, ranks, *more):
    """Of processes, without windows and in them."""
    bars = [(f"{coll}_windows_gain", "least", 1) for coll in ("all_gather", "all_reduce", "reduce_scatter")]
    return check(f"rates {bytes_} windows, {ranks} processes", "rates", "--bytes", bytes_, "--ranks", ranks, "--mode", "process", "--windows", "library", *more,
                 processes=ranks, deadline=90, bars=bars)


def fast(quick):
    if quick:
        return [check("copy", "copy", "--bytes", "1M", "--rounds", "2"),
                check("latency", "latency", "--ranks", "2", "--rounds", "4", bars=[("eager_us", "most", 12)]),
                check("rates 1M", "rates", "--bytes", "1M", "--ranks", "2", "--rounds", "1", bars=rate_bars(0.75)),
                rates_in_windows("4M", 2, "--rounds", "1")]
    copy_bars = [("reduce_8_bf16_ratio", "least", 0.85), ("two_blocks_each_way_GBps", "least", 50)]
    cases = [check("copy", "copy", deadline=60, bars=copy_bars),
             check("latency", "latency", "--ranks", "8", deadline=60, bars=[("eager_us", "most", 12), ("graph_us", "most", 6)]),
             check("rates 256M", "rates", "--bytes", "256M", "--ranks", "8", deadline=90, bars=rate_bars(0.75)),
             check("rates 64M", "rates", "--bytes", "64M", "--ranks", "8", deadline=60, bars=rate_bars(0.60)),
             check("rates 64M threads", "rates", "--bytes", "64M", "--ranks", "8", "--mode", "threads", deadline=60)]
    for bytes_ in ("1M", "8M", "1G"):
        cases.append(check(f"rates {bytes_}", "rates", "--bytes", bytes_, "--ranks", "8", deadline=90))
    cases.append(check("rates 64M board", "rates", "--bytes", "64M", "--ranks", "8", env=BOARD, deadline=60))
    cases.append(check("rates 64M relay", "rates", "--bytes", "64M", "--ranks", "2", env=RELAY, deadline=90))
    cases += [rates_in_windows("64M", 4), rates_in_windows("8M", 4)]
    return cases


def clients(_):
    return [Case("loaded library", [], script="loaded.py", deadline=30),
            Case("devices shown", ["shown"], script="nccl_tests.py", deadline=30),
            Case("PyTorch, 2 processes", ["2"], script="torch_client.py", deadline=150),
            Case("PyTorch, 4 processes", ["4"], script="torch_client.py", deadline=150),
            Case("PyTorch, expandable allocator", ["2"], script="torch_client.py", deadline=150,
                 env={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}),
            Case("PyTorch, DDP and FSDP2", ["2", "train"], script="torch_client.py", deadline=200),
            Case("nccl-tests, 4 ranks", ["4"], script="nccl_tests.py", deadline=180),
            Case("net plugin in NCCL, 2 processes", ["2"], script="plugin_client.py", deadline=200),
            Case("net plugin in NCCL, 4 processes", ["4"], script="plugin_client.py", deadline=200),
            Case("CuPy", ["2"], script="cupy_client.py", deadline=90),
            Case("JAX", [], script="jax_client.py", deadline=120)]


STAGES = {"probe": probe, "correct": correct_stage, "fast": fast, "clients": clients}
