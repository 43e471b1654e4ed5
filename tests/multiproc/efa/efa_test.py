"""Weft's ranks on virtual hosts that the software EFA device joins: efa_test.py PLACE LIBRARY FABRIC WORKER, LIBRARY as for
tests/conformance/efa. The network reorders packets and places them twice and in pieces; the device's counters must say that it did. PLACE
is "two" or "eight" ranks; "rails:N" (one rail in order, four that repeat, 32 that reorder); "schedules:FROM:TO": every seed in it another
device, number of ranks and unkindness; or "left": what a rank that was killed leaves in /dev/shm. 77: this machine does not allow virtual
hosts, or has no such libfabric."""

import os
import random
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.environ["WEFT_TEST_SOURCE"], "tests"))
import efa_device

BIN = os.environ["WEFT_TEST_BIN"]
PLACES = {"two": (2, 2), "eight": (8, 4)}  # ranks, hosts
DEVICE = "nics=2,reorder=200us,duplicate=10%,twice=5%,torn,seed=11"
RAILS = {1: "nics=1", 4: "nics=4,duplicate=10%,twice=5%", 32: "nics=32,reorder=200us"}
SKIP = 77


def library_option(library, fabric):
    folder = efa_device.library_path(library, fabric)
    return ["--env", f"WEFT_LIBFABRIC={folder}/libfabric.so.1"] if folder else []


def launched(ranks, hosts, device, more, program):
    """What weft-run's subprocess was."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("WEFT_", "NCCL_", "FI_", "OMPI_", "PMI", "LD_"))}
    env.update(NCCL_DEBUG="INFO", NCCL_DEBUG_SUBSYS="INIT,NET")
    command = [os.path.join(BIN, "weft-run"), "-n", str(ranks), "--hosts", str(hosts), "--require-hosts", f"--efa={device}", *more,
               "--prefix", "all", "--timeout", "120", "--", *program]
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False)
    if "weft-run: no virtual hosts" in done.stderr:
        print(done.stderr)
        sys.exit(SKIP)
    return done


class Job:
    """What a job of ranks said, and what the device counted."""

    def __init__(self, ranks, hosts, device, more, worker):
        with tempfile.TemporaryDirectory(prefix="weft-efa-test-") as folder:
            counters = ["--env", f"WEFT_EFA_DEVICE_COUNTERS={folder}/counters-%h-%p"]
            done = launched(ranks, hosts, device, [*counters, *more], [worker, "collectives"])
            self.counters = efa_device.counters_of(folder)
        self.said = done.stdout + done.stderr
        assert done.returncode == 0, f"exit status {done.returncode} with --efa={device}\n{self.said}"
        assert sorted(self.counters) == list(range(hosts)), sorted(self.counters)
        for host, total in self.counters.items():
            assert total["processes"] == ranks // hosts and total["packets"] > 20 and total["cq_overruns"] == 0, (host, total)

    def networks(self):
        return re.findall(r"Using network fabric: provider efa, fabric (\S+), libfabric (\d)", self.said)


def schedules(seeds, library, fabric, more, worker):
    """Each seed is a device, a number of ranks and a network of its own; a seed that failed is run again by its number."""
    totals = {}
    for seed in seeds:
        roll = random.Random(seed)
        hosts = roll.choice([2, 2, 3, 4])
        device = (f"nics={roll.choice([1, 1, 2, 4])},seed={seed},delay={roll.choice([0, 5, 50])}us,reorder={roll.choice([50, 200, 1000])}us,"
                  f"duplicate={roll.randrange(30)}%,twice={roll.randrange(15)}%" + roll.choice(["", ",torn"]))
        job = Job(hosts * roll.choice([1, 2]), hosts, device, more, worker)
        assert set(job.networks()) == {(fabric, "1" if library == "system" else "2")}, job.networks()
        for total in job.counters.values():
            for name, value in total.items():
                totals[name] = totals.get(name, 0) + value
    print(f"{len(seeds)} schedules:", totals)
    assert totals["reorders"] > 1000 * len(seeds) and totals["duplicates"] > 20 * len(seeds), totals


def rails(count, library, fabric, more, worker):
    job = Job(2, 2, RAILS[count], more, worker)
    print(job.said)
    assert job.networks() == [(fabric, "1" if library == "system" else "2")] * 2, job.networks()
    assert job.said.count(f"rides {count} of {count} rails") == 2
    for host, total in job.counters.items():
        print(host, total)
        assert total["nics"] == count, total
        assert (total["reorders"] > 20) == (count == 32), total
        assert (total["duplicates"] > 20) == (count == 4), total


def left(more, worker):
    """Two hosts of two ranks, one of which is killed; each looks into its host's /dev/shm when it is over."""
    look = 'victim=1; "$0" kill $victim; code=$?; ls /dev/shm | sed "s/^/left: /"; echo looked; exit $code'
    done = launched(4, 2, "nics=2", more, ["sh", "-c", look, worker])
    said = done.stdout + done.stderr
    assert done.returncode == 137, f"exit status {done.returncode}, not the killed rank's\n{said}"
    assert said.count("looked") == 4, said
    names = set(re.findall(r"left: (?!weft-efa-of-)(\S+)", said))  # that one is the device's, and there until weft-run ends
    assert not names, f"in /dev/shm: {sorted(names)}\n{said}"


def main(place, library, fabric, worker):
    more = ["--env", f"WEFT_PROVIDER={fabric}", *library_option(library, fabric)]
    if place == "left":
        return left(more, worker)
    if place.startswith("schedules:"):
        first, last = map(int, place.split(":")[1:])
        return schedules(range(first, last), library, fabric, more, worker)
    if place.startswith("rails:"):
        return rails(int(place.split(":")[1]), library, fabric, more, worker)
    ranks, hosts = PLACES[place]
    job = Job(ranks, hosts, DEVICE, more, worker)
    print(job.said)
    assert job.networks() == [(fabric, "1" if library == "system" else "2")] * ranks, job.networks()
    for host, total in job.counters.items():
        print(host, total)
        for name in ("sends", "packets", "duplicates", "torn", "reorders", *(["writes_imm"] if library == "2x" else [])):
            assert total[name] > 20, (host, name, total)
        assert total["packet_bytes"] > 5 << 20, (host, total)


main(*sys.argv[1:])
