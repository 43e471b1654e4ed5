"""What a job says when the network cannot be brought up, or comes up otherwise than it should: bringup_test.py CASE FAKE FORKER.
FAKE is a libfabric that answers what FAKE_LIBFABRIC says (tests/unit/transports/fake_libfabric); nothing here needs a device.
77: this machine lacks what the case needs."""

import ctypes
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

BIN = os.environ["WEFT_TEST_BIN"]
RUN, PERF, DEVICE = (os.path.join(BIN, name) for name in ("weft-run", "weft-perf", "libweft-efa-device.so"))
FAKE, FORKER = sys.argv[2:4]
FORGOTTEN = ("WEFT_", "NCCL_", "OMPI_", "PMI", "FI_", "SYSFS_PATH", "FAKE_LIBFABRIC")
EFA = "version=2.4 providers=efa info=efa/efa-direct"
CAP_IPC_LOCK = 14


class Skip(Exception):
    pass


def clean(**more):
    return {**{k: v for k, v in os.environ.items() if not k.startswith(FORGOTTEN)}, "WEFT_TRANSPORT": "fabric", **more}


def start(command, before=None, **env):
    done = subprocess.run(command, env=clean(**env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110,
                          preexec_fn=before, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    return done


def job(*launch, program=(PERF, "all_reduce", "-b", "8", "-e", "8", "-n", "1"), before=None, **env):
    """Two ranks, all output in one."""
    done = start([RUN, "-n", "2", "--no-prefix", *launch, "--", *program], before, **env)
    return done.returncode, done.stdout + done.stderr


def faked(told=EFA, **more):
    return job(WEFT_LIBFABRIC=FAKE, FAKE_LIBFABRIC=told, **more)


def refused(answer, *words):
    """One line has all the words, no line has half of them, and the job has failed by itself."""
    status, text = answer
    assert status not in (0, 124) and status < 128, f"exit status {status}"
    lines = [line for line in text.splitlines() if all(word in line for word in words)]
    assert lines, f"no line says {words}"
    for line in lines:
        assert len(line) < 1500, "too long for a line"


def sysfs(folder):
    """A host with one EFA device, whose verbs node no machine has."""
    device, verbs = (os.path.join(folder, *parts) for parts in (("bus/pci/devices/0000:00:06.0",), ("class/infiniband_verbs/uverbs4000",)))
    os.makedirs(device)
    os.makedirs(verbs)
    for path, text in ((device, {"vendor": "0x1d0f", "device": "0xefa1"}), (verbs, {"ibdev": "rdmap0s6"})):
        for name, value in text.items():
            with open(os.path.join(path, name), "w", encoding="ascii") as file:
                file.write(value + "\n")
    os.symlink("../../../bus/pci/devices/0000:00:06.0", os.path.join(verbs, "device"))
    return folder


def ranks_differ(first, second):
    """Rank 0 has a libfabric of which `first` is told, rank 1 of which `second`."""
    program = ("sh", "-c", f'[ $WEFT_RANK = 0 ] && export FAKE_LIBFABRIC="{first}" || export FAKE_LIBFABRIC="{second}"; '
               f'exec "{PERF}" all_reduce -b 8 -e 8 -n 1')
    return job(program=program, WEFT_LIBFABRIC=FAKE)


def case_no_provider():
    with tempfile.TemporaryDirectory() as folder:
        refused(faked("version=2.4 providers=tcp info=tcp;ofi_rxm/lo/lo", SYSFS_PATH=sysfs(folder)),
                "EFA device rdmap0s6 cannot be used", "/dev/infiniband/uverbs4000 does not exist",
                "libfabric 2.4 (" + FAKE + ") has no efa provider", "EFA installer", "WEFT_LIBFABRIC", "WEFT_ALLOW_TCP=1")


def case_excluded():
    with tempfile.TemporaryDirectory() as folder:
        refused(faked("version=2.4 providers=tcp info=tcp;ofi_rxm/lo/lo", SYSFS_PATH=sysfs(folder), FI_PROVIDER="^efa"),
                "EFA device rdmap0s6 cannot be used", "FI_PROVIDER=^efa leaves efa out", "unset it")


def case_allow_tcp():
    """The only way to TCP from there; the machine's own libfabric goes it."""
    with tempfile.TemporaryDirectory() as folder:
        status, text = job(SYSFS_PATH=sysfs(folder), WEFT_ALLOW_TCP="1", WEFT_RAILS="127.0.0.1", NCCL_DEBUG="INFO")
    assert status == 0, f"exit status {status}"
    warned = [line for line in text.splitlines() if "NCCL WARN" in line]
    assert len(warned) == 1, "not one warning a job"
    assert all("EFA device rdmap0s6 cannot be used" in line and "TCP is used" in line for line in warned)
    assert "Using network fabric: provider tcp;ofi_rxm" in text


def case_permission():
    refused(faked(EFA + " open_error=13"), "rail rdmap0s6-rdm (efa)", "Permission denied", "may not use the device")


def memory_lock_little():
    """Before the program starts: 64 KiB may be locked, without the right to lock more."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    libc, pr_capbset_drop = ctypes.CDLL(None), 24
    libc.prctl(pr_capbset_drop, CAP_IPC_LOCK, 0, 0, 0)


def case_locked_memory():
    refused(faked(before=memory_lock_little), "locked-memory limit is 64 KiB", "MiB", "ulimit -l unlimited")


def case_registration():
    refused(faked(EFA + " register_error=12"), "rail rdmap0s6-rdm", "posting the first receive buffer failed: Cannot allocate memory", "ulimit -l")


def case_wrong_provider():
    refused(faked("version=2.4 info=tcp;ofi_rxm/lo/lo", WEFT_PROVIDER="efa"), "WEFT_PROVIDER=efa", "unset it")
    refused(faked("version=1.17 info=efa/efa", WEFT_PROVIDER="efa-direct"), "WEFT_PROVIDER=efa-direct", "offers efa here")
    refused(faked(WEFT_PROVIDER="pigeon"), "provider pigeon", "WEFT_PROVIDER")
    refused(job(WEFT_LIBFABRIC="/nowhere.so"), "WEFT_LIBFABRIC=/nowhere.so", "unset it")


def case_fatal_variable():
    refused(faked(FI_EFA_MTU_SIZE="8192"), "FI_EFA_MTU_SIZE=8192 would end the process", "libfabric 2.4", "unset it")
    refused(faked(FI_EFA_USE_DEVICE_RDMA="perhaps"), "FI_EFA_USE_DEVICE_RDMA=perhaps", "takes 0 or 1")


def case_versions_differ():
    refused(ranks_differ(EFA, "version=1.17 info=efa/efa"), "the network differs between ranks", "rank 0", "rank 1",
            "libfabric is 1.17 on rank 1", "2.4 on rank 0")
    refused(ranks_differ(EFA, "version=2.4 info=efa/efa"), "fabric is efa on rank 1", "efa-direct on rank 0")
    refused(ranks_differ("version=2.4 info=tcp;ofi_rxm/lo/lo", EFA), "provider is efa on rank 1", "tcp;ofi_rxm on rank 0")
    refused(ranks_differ("version=2.3 info=efa/efa", "version=2.4 info=efa/efa"), "libfabric is 2.4 on rank 1", "2.3 on rank 0")
    refused(ranks_differ("version=2.4 info=efa/efa", "version=2.4 info=efa/efa emulated"), "write is emulated on rank 1",
            "hardware on rank 0")


def case_two_copies():
    """A process that has loaded one libfabric, and then Weft another."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(FAKE, os.path.join(folder, "libfabric.so.1"))
        status, text = job(program=(FORKER, copy), WEFT_RAILS="127.0.0.1")
    assert status == 0, f"exit status {status}"
    warned = [line for line in text.splitlines() if "2 copies of libfabric are loaded" in line]
    assert len(warned) == 2, "not one warning a process"
    assert all(copy in line and "this library uses" in line and "WEFT_LIBFABRIC" in line for line in warned)


def fork(*launch, **env):
    status, text = job(*launch, program=(FORKER,), **env)
    assert status == 0, f"exit status {status}"
    assert text.count("children ended well") == 2
    return text


def case_fork():
    fork(WEFT_RAILS="127.0.0.1")


def case_leave():
    """A program that ends with communicators open, or just destroyed: nobody uses libfabric while it goes."""
    for how in ("leave", "destroy"):
        status, _ = job(program=(FORKER, how), WEFT_LIBFABRIC=FAKE, FAKE_LIBFABRIC=EFA + " linger=400")
        assert status == 0, f"{how}: exit status {status}"


def device_here():
    if not os.path.exists(DEVICE):
        raise Skip("no software EFA device in this build")


def case_fork_device():
    device_here()
    fork("--efa", WEFT_PROVIDER="efa")


def case_emulated():
    """What every job on an old libfabric is told, and nothing else goes wrong on it."""
    device_here()
    status, text = job("--efa", NCCL_DEBUG="INFO", WEFT_PROVIDER="efa")
    version = re.search(r"provider efa, fabric efa, libfabric (\d+)\.(\d+)", text)
    assert status == 0 and version, f"exit status {status}"
    old = tuple(map(int, version.groups())) < (1, 18)
    assert ("emulates every write on EFA" in text) == old
    assert ("write emulated" in text) or not old


def case_unreachable():
    """A network that drops everything, as a security group does: told by EFA's code, while the job waits."""
    device_here()
    status, text = job("--efa=nics=1,unresponsive=500ms", "--efa-faults=loss rate=100%", "--timeout", "12",
                       WEFT_PROVIDER="efa")
    assert status == 124, f"exit status {status}"
    lines = [line for line in text.splitlines() if "a control message to rank" in line]
    assert lines, "nobody was told"
    for line in lines:
        assert "never answered" in line and "security group" in line and "both directions" in line, line
    assert len(lines) <= 2, "told more than once for a peer"


def main():
    try:
        globals()["case_" + sys.argv[1]]()
    except Skip as why:
        print(why)
        return 77
    return 0


sys.exit(main())
