"""Several processes, on one host over shared memory and on virtual hosts over libfabric: cluster_test.py PLACE CASE. The work and its
checks are in worker.cpp; this starts it and reads what it prints. 77: this machine does not allow virtual hosts."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

BIN = os.environ["WEFT_TEST_BIN"]
RUN = os.path.join(BIN, "weft-run")
WORKER = sys.argv[3]
PLACES = {
    "host": ["-n", "4"],
    "virtual": ["-n", "4", "--hosts", "2", "--require-hosts"],
    "uneven": ["-n", "5", "--hosts", "3", "--rails", "2", "--require-hosts"],
    "wide": ["-n", "8", "--hosts", "2", "--require-hosts"],
    "deep": ["-n", "8", "--hosts", "4", "--require-hosts"],
    "eight": ["-n", "16", "--hosts", "8", "--require-hosts"],
}
ALGORITHMS = ["direct", "ring", "halving", "tree", "mesh", "chain", "hier", "hier:mesh", "hier:halving", "hier:tree"]
COLLECTIVES = ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "alltoall", "gather", "scatter"]


def clean(**more):
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "OMPI_", "PMI"))}
    return {**keep, **more}


def ranks(place):
    return int(PLACES[place][1])


def run(place, *arguments, limit=90, **env):
    command = [RUN, *PLACES[place], "--prefix", "all", "--timeout", str(limit), "--", WORKER, *map(str, arguments)]
    done = subprocess.run(command, env=clean(**env), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=limit + 20, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    return done


def stats(text):
    lines = re.findall(r"weft stats: (.*)", text)
    return [dict(pair.split("=", 1) for pair in line.split() if "=" in pair) for line in lines]


def passes(place, *arguments, **env):
    done = run(place, *arguments, **env)
    assert done.returncode == 0, f"exit status {done.returncode}"
    return done


def case_collectives(place):
    passes(place, "collectives")


def case_lib(place):
    passes(place, "collectives-lib")


def case_staged(place):
    passes(place, "collectives", WEFT_CMA_DISABLE="1")


def case_provider(place, provider):
    done = passes(place, "collectives", WEFT_TRANSPORT="fabric", WEFT_PROVIDER=provider, NCCL_DEBUG="INFO")
    used = re.findall(r"Using network fabric: provider (\S+),", done.stdout + done.stderr)
    assert used == [provider] * ranks(place), used


def case_over_shm(place):
    case_provider(place, "shm")


def case_over_tcp(place):
    case_provider(place, "tcp;ofi_rxm")


def case_kill(place, mode="kill"):
    victim = ranks(place) - 1
    done = run(place, mode, victim, WEFT_RUN_GRACE="20")
    assert done.returncode == 137, f"exit status {done.returncode}, not the killed rank's"
    told = re.findall(r"result \d+ after.*", done.stdout)
    assert len(told) == ranks(place) - 1, f"{len(told)} survivors reported"
    for line in told:
        twice = re.search(r"(rank \d+ of comm \S+): \1|rank (\d+) (died|failed): rank \2 ", line)
        assert not twice, f"said twice: {line}"


def case_kill_two(place):
    victim = ranks(place) - 1
    done = run(place, "kill-two", victim, WEFT_RUN_GRACE="20")
    assert done.returncode == 137, f"exit status {done.returncode}, not the killed rank's"
    told = re.findall(r"result \d+ after", done.stdout)
    assert len(told) == 2 * (ranks(place) - 1), f"{len(told)} operations of the survivors ended"


def case_kill_init(place):
    case_kill(place, "kill-init")


# The victim has a child that lives on with everything it inherited.
def case_orphan(place):
    case_kill(place, "kill-parent")


def case_abort(place):
    done = passes(place, "abort", 1)
    assert len(re.findall(r"result \d+ after", done.stdout)) == ranks(place) - 1


def case_mismatch(place):
    passes(place, "mismatch")


def case_computing(place):
    passes(place, "computing")


def case_idle(place):
    passes(place, "idle")


def case_late(place):
    passes(place, "late", WEFT_LATE_REPORT="1")


# Before any rank has reached it, as by a debugger; the default deadline is far away.
def case_stopped(place):
    assert "failed" not in passes(place, "stopped-first", 4).stdout


def case_big(place):
    passes(place, "big", limit=240)


def case_oversubscribed(_):
    PLACES["many"] = ["-n", "16"]
    passes("many", "collectives")


# A ring all-reduce of S bytes puts 2(n-1)/n S per rank, no more, whatever carries it.
def case_count(place):
    done = passes(place, "count", WEFT_STATS="1", NCCL_ALGO="ring")
    n, size = ranks(place), 16 << 20
    seen = stats(done.stdout + done.stderr)
    assert len(seen) == n, f"{len(seen)} ranks printed their counters"
    for one in seen:
        put = int(one["put_bytes"])
        assert put == 2 * (n - 1) * size // n, f"put {put} bytes of {2 * (n - 1) * size // n}"
        links = dict(pair.split(":") for pair in one["to"].split(","))
        assert sum(map(int, links.values())) >= put, f"links carried {links} of {put}"
        if "fabric.rails" in one:
            rails = sum(map(int, one["fabric.rails"].split(",")))
            assert rails == int(one["fabric.put_bytes"]), f"rails {one['fabric.rails']} of {one['fabric.put_bytes']}"


# Every byte crosses to another host once, into the place where it stays: per host (p-k)/p of the whole, twice for all_reduce, and on the
# virtual wire no more than headers, grants and acknowledgements beside it.
def case_traffic(place):
    n = ranks(place)
    per_host = n // int(PLACES[place][3])
    whole = (16 << 20) // n * n * 4
    for what, phases in (("all_gather", 1), ("reduce_scatter", 1), ("all_reduce", 2)):
        done = passes(place, "traffic", what, WEFT_STATS="1", NCCL_ALGO="hier")
        seen = stats(done.stdout + done.stderr)
        assert len(seen) == n, f"{len(seen)} ranks printed their counters"
        bound = phases * (n - per_host) * whole // n
        crossed = {}
        for rank, line in re.findall(r"weft stats: rank (\d+) (.*)", done.stdout + done.stderr):
            host = int(rank) // per_host
            for peer, sent in re.findall(r"(\d+):(\d+)", re.search(r" to=(\S+)", line)[1]):
                if int(peer) // per_host != host:
                    crossed[host] = crossed.get(host, 0) + int(sent)
        assert set(crossed.values()) == {bound} and len(crossed) == n // per_host, f"{what}: sent {crossed}, not {bound} a host"
        wire = [int(sent) for sent in re.findall(r"traffic (-?\d+)", done.stdout)]
        assert len(wire) == n and all(bound <= sent <= 1.03 * bound for sent in wire), f"{what}: on the rails {wire} of {bound}"
        # Out of place all_gather copies the own block, once; the others nothing but what they add up.
        for one in seen:
            most = whole // n if what == "all_gather" else 0
            assert int(one["copied_bytes"]) <= most + (64 << 10), f"{what}: copied {one['copied_bytes']} bytes, {most} are needed"


# The simulator counts what the executor does: the same plan from one file gives every rank the same messages and bytes in both.
def case_simulated(place):
    n, hosts = ranks(place), int(PLACES[place][3])
    plan_tool = [os.path.join(BIN, "weft-plan")]
    with tempfile.TemporaryDirectory() as folder:
        for what in ("all_gather", "reduce_scatter", "all_reduce"):
            call = ["--bytes", str((16 << 20) // n * n * 4), "--topology",
                    f"hosts={hosts} ranks={n // hosts} rails=1 nic=125MB/s"]
            path = os.path.join(folder, what)
            with open(path, "w") as file:
                subprocess.run(plan_tool + ["print", "--coll", what, *call, "--algo", "hier:ring", "--strands", "2"], stdout=file, check=True, timeout=60)
            told = subprocess.run(plan_tool + ["simulate", *call, "--file", path, "--tile", "256K", "--json"], capture_output=True,
                                  text=True, check=True, timeout=60)
            expected = {one["rank"]: one for one in json.loads(told.stdout)["ranks"]}
            done = passes(place, "traffic", what, WEFT_STATS="1", WEFT_PLAN=path, WEFT_TILE_BYTES=str(256 << 10))
            seen = re.findall(r"weft stats: rank (\d+) (.*)", done.stdout + done.stderr)
            assert len(seen) == n, f"{len(seen)} ranks printed their counters"
            for rank, line in seen:
                counted = dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
                sides = [expected[int(rank)][side] for side in ("between_hosts", "inside")]
                for name, key in (("puts", "data_messages"), ("grants", "control_messages"), ("put_bytes", "payload_bytes")):
                    want = sum(side[key] for side in sides)
                    assert int(counted[name]) == want, f"{what}: rank {rank} counted {name}={counted[name]}, simulated {want}"


# Every algorithm, asked for by name, gives right results for every collective, on counts nothing divides, and every type where it adds.
def case_algorithms(place):
    perf = os.path.join(BIN, "weft-perf")
    for algorithm in ALGORITHMS:
        types = {what: "all" if "reduce" in what else "int8" for what in COLLECTIVES}
        script = " && ".join(f"{perf} {what} -d {types[what]} -b 300007 -e 300007 -n 1 -w 0 -c 1 > /dev/null" for what in COLLECTIVES)
        command = [RUN, *PLACES[place], "--prefix", "all", "--timeout", "120", "--", "sh", "-c", script]
        done = subprocess.run(command, env=clean(NCCL_ALGO=algorithm), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=140, check=False)
        sys.stdout.write(done.stdout + done.stderr)
        assert done.returncode == 0, f"{algorithm}: exit status {done.returncode}"


# One program after the other: who is first in the next one meets rank 0's process of the last.
def case_sequence(place):
    command = [RUN, *PLACES[place], "--timeout", "60", "--", "sh", "-c", f"{WORKER} linger && {WORKER} linger && {WORKER} linger"]
    done = subprocess.run(command, env=clean(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=80, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    assert done.returncode == 0, f"exit status {done.returncode}"


# Strangers at the control port, while ranks meet and after, delay nobody.
def case_strangers(place):
    assert place == "host"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [RUN, *PLACES[place], "--timeout", "60", "--", "sh", "-c",
               f'[ "$WEFT_RANK" = 3 ] && sleep 2; exec {WORKER} collectives']
    begin = time.monotonic()
    job = subprocess.Popen(command, env=clean(NCCL_COMM_ID=f"127.0.0.1:{port}", WEFT_SECRET="a test's secret"),
                           stdin=subprocess.DEVNULL)
    strangers = []
    while time.monotonic() - begin < 2 and job.poll() is None:
        for greeting in (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 64, os.urandom(4096), b""):
            try:
                stranger = socket.create_connection(("127.0.0.1", port), timeout=0.2)
                stranger.sendall(greeting)
                strangers.append(stranger)
            except OSError:
                pass
        time.sleep(0.05)
    status = job.wait(timeout=60)
    for stranger in strangers:
        stranger.close()
    assert strangers, "no stranger got through to the port"
    assert status == 0, f"exit status {status}"
    assert time.monotonic() - begin < 20


def plan_file(folder, name, algo, count):
    path = os.path.join(folder, name)
    text = subprocess.run([os.path.join(BIN, "weft-plan"), "print", "--coll", "all_reduce", "--ranks", str(count), "--algo", algo],
                          check=True, capture_output=True, text=True).stdout
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def refused(done, *parts):
    assert done.returncode != 0, "it ran"
    text = done.stdout + done.stderr
    for part in parts:
        assert part in text, f"nothing says {part!r}"


def case_plans(place):
    """Plans of files: run where they fit, refused with file, line and step, and compared between ranks."""
    with tempfile.TemporaryDirectory() as folder:
        ring = plan_file(folder, "ring", "ring", ranks(place))
        direct = plan_file(folder, "direct", "direct", ranks(place))
        done = passes(place, "collectives", WEFT_PLAN=ring, WEFT_EXPLAIN="1")
        explained = re.findall(r"weft: (rank \d+) of .*: chose the plan of (\S+) because: WEFT_PLAN", done.stdout + done.stderr)
        assert explained and set(explained) == {("rank 0", ring)}, f"explained {explained[:3]}"

        wrong = os.path.join(folder, "wrong")
        with open(ring, encoding="utf-8") as good, open(wrong, "w", encoding="utf-8") as bad:
            bad.write(good.read().replace("put <- in1 to 1", "put <- in0 to 1", 1).replace(" finish", "", 1))
        refused(run(place, "collectives", WEFT_PLAN=wrong), f"WEFT_PLAN: {wrong}: the prover refuses it", "rank ")
        with open(wrong, "w", encoding="utf-8") as bad:
            bad.write("weft-plan 1\nnonsense\n")
        refused(run(place, "collectives", WEFT_PLAN=wrong), f"WEFT_PLAN: {wrong}:2: ")

        command = [RUN, *PLACES[place], "--timeout", "60", "--", "sh", "-c",
                   f'[ "$WEFT_RANK" = 2 ] && export WEFT_PLAN={direct} || export WEFT_PLAN={ring}; exec {WORKER} collectives']
        done = subprocess.run(command, env=clean(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=80, check=False)
        refused(done, "rank 2 (", "would choose plans other than rank 0", "WEFT_PLAN names other plans there")


def case_choice(place):
    """Choices by price over hosts: explained on rank 0 alone, measured on request, refused by setting and word."""
    done = passes(place, "collectives", WEFT_EXPLAIN="1")
    lines = re.findall(r"weft: (rank \d+) of .*: chose (.*)", done.stdout + done.stderr)
    assert lines and all(rank == "rank 0" for rank, _ in lines), "explained elsewhere, or nowhere"
    assert all("because: it would cost " in text and "(costs from the cluster" in text for _, text in lines), "no prices"
    done = passes(place, "collectives", WEFT_EXPLAIN="1", WEFT_PROBE="1")
    assert "(costs from the probe)" in done.stdout + done.stderr
    passes(place, "collectives", WEFT_TOPOLOGY="p5.48xlarge", NCCL_PROTO="Simple")
    refused(run(place, "collectives", WEFT_TOPOLOGY="hosts=2 ranks=2 rails=1 nic=fast"), "WEFT_TOPOLOGY: ", "'fast'")
    command = [RUN, *PLACES[place], "--timeout", "60", "--", "sh", "-c",
               f'[ "$WEFT_RANK" = 3 ] && export WEFT_TOPOLOGY=p5.48xlarge; exec {WORKER} collectives']
    done = subprocess.run(command, env=clean(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=80, check=False)
    refused(done, "WEFT_TOPOLOGY differs between ranks", "rank 3 (")


def main():
    place, case = sys.argv[1:3]
    if place != "host":
        probe = subprocess.run([RUN, "-n", "1", "--hosts", "1", "--require-hosts", "--", "true"], env=clean(),
                               capture_output=True, text=True, timeout=30, check=False)
        if probe.returncode != 0:
            print(f"virtual hosts are not allowed here: {probe.stderr.strip()}")
            return 77
    try:
        globals()["case_" + case](place)
    except AssertionError as error:
        print(f"{place} {case}: {error}")
        return 1
    return 0


sys.exit(main())
