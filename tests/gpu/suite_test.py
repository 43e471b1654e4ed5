"""The suite for GPU machines, run whole on the stand-in driver: suite_test.py BUILD DRIVER CASE. Failures are planted by the environment; what
the suite must say of each is checked here. The stand-in is no GPU, and no line may say so."""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

BUILD, DRIVER, CASE = sys.argv[1:4]
SOURCE = os.environ["WEFT_TEST_SOURCE"]
TOOL = os.path.join(SOURCE, "tools", "gpu_suite")
sys.path.insert(0, TOOL)
sys.dont_write_bytecode = True
PATIENCE = 200


def clean(**more):
    drop = ("WEFT_", "NCCL_", "FAKE_CUDA_", "LD_")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(drop) and k != "OUT"}, **more}


def run(command, **env):
    done = subprocess.run(command, env=clean(**env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    return done


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def bundle(into):
    """A bundle in a folder that no run path knows."""
    out = os.path.join(into, "elsewhere")
    done = run([sys.executable, "-B", os.path.join(TOOL, "bundle.py"), BUILD, out, "--no-ninja"])
    check(done.returncode == 0, "the bundle has faults")
    return out


class Ran:
    def __init__(self, done, out):
        self.status, self.text = done.returncode, done.stdout
        with open(os.path.join(out, "results.jsonl"), encoding="utf-8") as lines:
            self.records = [json.loads(line) for line in lines]
        check(all(not record["gpu"] for record in self.records), "a record says that a GPU ran it")
        check("no GPU" in self.text.splitlines()[-1] or "no device" in self.text.splitlines()[-1], "the last line does not say where it ran")

    def of(self, test, switched=False):
        return [one for one in self.records if one["test"] == test and ("switch" in one) == switched]


def suite(into, *arguments, **planted):
    """The suite as it runs on a machine: from the bundle, here without hundreds of megabytes copied."""
    made = os.path.join(BUILD, "tools", "gpu_suite")
    out = os.path.join(into, "out")
    command = [sys.executable, "-B", os.path.join(TOOL, "suite.py"), "--bundle", made, "--driver", DRIVER, "--out", out, "--quick", *arguments]
    return Ran(run(command, **planted), out)


def case_bundle(into):
    """From another folder, with nothing of the distribution but glibc."""
    out = bundle(into)
    check(os.path.getsize(out + ".tar.gz") <= 40 << 20, "the tarball is larger than 40 MiB")
    done = run([os.path.join(out, "weft-gpu-check"), "version"], LD_DEBUG="libs", LD_LIBRARY_PATH="")
    check(done.returncode == 0 and "weft" in done.stdout.lower(), "weft-gpu-check does not start")
    inits = set(re.findall(r"calling init: (\S+)", done.stderr))
    theirs = {name for name in inits if not name.startswith(out) and not re.search(r"/(ld-linux|libc|libm|libdl|libpthread|librt)[-.\d\w]*\.so", name)}
    check(any(os.path.basename(name).startswith("libhwloc") for name in inits), "hwloc was not seen to load")
    check(not theirs, f"loaded from outside of the bundle: {theirs}")
    done = run([sys.executable, "-B", os.path.join(out, "suite.py"), "--driver", DRIVER, "--out", os.path.join(into, "out"), "--only", "gang 2 small",
                "--stage", "probe"], LD_LIBRARY_PATH="")
    check(done.returncode == 0 and "1 pass" in done.stdout.splitlines()[-1], "a test of the bundle does not pass")


def case_well(into):
    ran = suite(into, "--stage", "probe")
    bad = [one for one in ran.records if one["result"] != "pass"]
    check(ran.status == 0 and not bad, f"did not pass: {[(one['test'], one['why']) for one in bad]}")
    check(len(ran.records) >= 15, f"{len(ran.records)} tests")
    check(ran.of("graph gang")[0]["values"]["replays"] == 16, "not 16 replays")
    check(all(ran.of("litmus")[0]["values"][name] == 0 for name in ("message", "ll", "barrier", "elements", "copies", "host")), "litmus")
    ran = suite(into, "--stage", "probe", "--only", "litmus", FAKE_CUDA_BLOCK="3")
    check(ran.status == 0, "litmus tests of blocks of three threads")
    ran = suite(into, "--stage", "fast", "--only", "latency")
    check("a stand-in driver has no speed" in ran.text and "NOT MET" not in ran.text, "a figure of the stand-in was held to a bar")
    ran = suite(into, "--stage", "correct", "--only", "*memcheck*")
    check(ran.of("memcheck of a gang")[-1]["result"] == "skip", "the sanitizer ran on a stand-in")


def case_hang(into):
    """The second rank's launch does nothing: the first waits for its card for ever."""
    ran = suite(into, "--stage", "probe", "--only", "threads 2", "--deadline", "4", FAKE_CUDA_LOST="2")
    hung = ran.of("threads 2")[0]
    check(ran.status == 1 and hung["result"] == "hang", f"no hang: {hung['result']} {hung['why']}")
    check(any(re.match(r"rank \d lane \d was stopped at step \d+ of tile 0: it awaited the card of rank \d, wanted 1, saw 0", line) for line in hung["lanes"]),
          f"lanes: {hung['lanes']}")
    check(ran.of("health", switched=True)[0]["result"] == "pass", "the health kernel did not run, or failed")
    tried = {one["switch"] for one in ran.of("threads 2", switched=True)}
    check({"LL off", "relay", "a gang instead of threads"} <= tried, f"switches: {tried}")
    check("passes with:" in ran.text, "not said which switches make it pass")
    check("rank" in "\n".join(ran.text.splitlines()[-20:]), "the summary has no lanes")


def case_stuck(into):
    """A kernel that no abort reaches: the process is ended, and the next test runs."""
    ran = suite(into, "--stage", "probe", "--only", "graph [gr]*", "--deadline", "3", FAKE_CUDA_STUCK="3")
    check([one["result"] for one in ran.records] == ["hang", "pass", "hang", "pass"], f"{[(one['test'], one['result']) for one in ran.records]}")
    check(len(ran.of("health", switched=True)) == 2, "no health kernel after each")


def case_wrong(into):
    """One byte of one copy, in no copy that the health kernel makes; then failures first."""
    ran = suite(into, "--stage", "probe", "--only", "gang 2", FAKE_CUDA_WRONG="3")
    wrong = ran.of("gang 2")[0]
    check(wrong["result"] == "fail" and "1 of 300000 elements are wrong, first 0" in wrong["why"], f"{wrong['result']} {wrong['why']}")
    check("gang 2: passes with: none of the switches\n" in ran.text, "a switch cured a wrong copy")
    check(any("gang 2: all_reduce" in line and "wrong" in line for line in ran.text.splitlines()[-10:]), "the summary does not say it")
    again = suite(into, "--stage", "probe", "--only", "gang 2*", "--first-failed")
    order = [one["test"] for one in again.records[len(ran.records):]]
    check(order == ["gang 2", "gang 2 small"], f"order {order}")


def case_dead(into):
    ran = suite(into, "--stage", "probe", "--only", "[hlg][eia]*", FAKE_CUDA_DEAD="1")
    check(ran.of("health")[0]["result"] == "fail" and "launch" in ran.of("health")[0]["why"], "a dead device passes")
    check(len(ran.of("health", switched=True)) == 2, "the health kernel was not tried again")
    rest = [one for one in ran.records if one["test"].startswith(("litmus", "gang"))]
    check(rest and all(one["result"] == "not run" and "answers no more" in one["why"] for one in rest), "went on with a dead device")
    check(ran.status == 1, "status 0")


def windows_fail(why, *arguments, **env):
    done = run([os.path.join(BUILD, "tools", "gpu_suite", "weft-gpu-check"), *arguments], WEFT_LIBCUDA=DRIVER, WEFT_DEVICE="cuda", **{"WEFT_DEVICE_BOARD": "1", **env})
    check(done.returncode == 1 and why in done.stdout.splitlines()[-1], f"{arguments} {env}: not found: {why}")


def case_windows(into):
    """Right ones pass. Wrong bytes, windows that are not there and calls that do not use them are found."""
    ran = suite(into, "--stage", "correct", "--only", "windows *")
    names = [f"windows {how}" for how in ("gang", "threads", "2 processes")]
    check([one["test"] for one in ran.records] == names and ran.status == 0, f"{[(one['test'], one['why']) for one in ran.records]}")
    check(all(one["values"]["cases"] == 14 for one in ran.records), "not every collective in both kinds of memory, in place and out of it")
    ran = suite(into, "--stage", "fast", "--only", "rates *windows*")
    values = ran.of("rates 4M windows, 2 processes")[0]["values"]
    check(ran.status == 0 and all(values[f"{coll}{where}_us"] > 0 for coll in ("all_gather", "all_reduce", "reduce_scatter") for where in ("", "_windows")), f"{values}")
    ran = suite(into, "--stage", "correct", "--only", "windows [g2]*", FAKE_CUDA_WRONG="2")
    for name in ("windows gang", "windows 2 processes"):
        check("1 of 150001 elements are wrong" in ran.of(name)[-1]["why"], f"{ran.of(name)[-1]}")
    windows_fail("there is no window of", "windows", "--count", "150001", NCCL_WIN_ENABLE="0")
    windows_fail("there is no window of", "rates", "--bytes", "4M", "--windows", "program", WEFT_DEVICE_RELAY="1", WEFT_DEVICE_BOARD="0")
    # Too small to be read in place.
    windows_fail("all_reduce in windows of memory of the library copied 1600 bytes", "windows", "--count", "100")
    windows_fail("all_gather in windows was copied", "rates", "--bytes", "64K", "--windows", "library")


def case_narrow(into):
    """Blocks of more than 64 threads do nothing: one switch makes it pass, and is named."""
    ran = suite(into, "--stage", "probe", "--only", "gang 2", FAKE_CUDA_NARROW="64")
    wrong = ran.of("gang 2")[0]
    check(wrong["result"] == "fail", f"{wrong}")
    check("gang 2: passes with: blocks of 32 threads\n" in ran.text, ran.text)
    tried = {one["switch"] for one in ran.of("gang 2", switched=True)}
    check({"one vector at a time", "no vectors", "LL off"} <= tried, f"switches: {tried}")


def case_crossed(into):
    """Messages in another order than their peers': right ones pass by every way, a wrong byte is found."""
    ran = suite(into, "--stage", "correct", "--only", "crossed *")
    check(len(ran.records) == 7 and ran.status == 0, f"{[(one['test'], one['why']) for one in ran.records]}")
    ran = suite(into, "--stage", "correct", "--only", "crossed [bp]*", FAKE_CUDA_WRONG="2")
    for name in ("crossed board", "crossed process"):
        check("is wrong" in ran.of(name)[-1]["why"], f"{ran.of(name)[-1]}")


def case_clients(into):
    ran = suite(into, "--stage", "clients")
    check(ran.of("loaded library")[0]["result"] == "pass" and ran.of("loaded library")[0]["values"]["file"].endswith("libnccl.so.2"), "not preloaded")
    check(ran.of("devices shown")[0]["result"] == "pass", f"{ran.of('devices shown')[0]}")
    others = [one for one in ran.records if one["test"] != "loaded library"]
    check(all(one["result"] in ("pass", "skip") for one in others), f"{[(one['test'], one['why']) for one in others]}")
    loaded = os.path.join(TOOL, "clients", "loaded.py")
    check(run([sys.executable, "-B", loaded]).returncode == 1, "a process without our library passes")
    for script in glob.glob(os.path.join(TOOL, "clients", "*.py")):
        with open(script, encoding="utf-8") as text:
            compile(text.read(), script, "exec")


def case_plugin(into):
    """Without NCCL: ours in its place, which loads no plugin and has to be found out; and our own network, which the rates are compared with."""
    made = os.path.join(BUILD, "tools", "gpu_suite")
    ours = os.path.join(made, "libnccl.so.2")
    ran = suite(into, "--stage", "clients", "--only", "net plugin*2*", WEFT_SUITE_NCCL=ours)
    tried = ran.of("net plugin in NCCL, 2 processes")[0]
    check(tried["result"] == "fail" and "all_reduce" in tried["why"] and "does not say that it uses it" in tried["why"], f"{tried}")
    os.environ.update(WEFT_SUITE_LIBRARY=ours, WEFT_LIBCUDA=DRIVER, WEFT_DEVICE="cuda")
    sys.path.insert(0, os.path.join(TOOL, "clients"))
    import plugin_client

    values = plugin_client.rates(None, 2, ["library"], ["--bytes", "1M", "--rounds", "1"])
    check(all(values[f"library_{coll}_us"] > 0 for coll in ("all_gather", "all_reduce", "reduce_scatter")), f"{values}")
    for network, line in {"plugin": "host:1:2 [0] NCCL INFO Using network Weft", "sockets": "host:1:2 [0] NCCL INFO Using network Socket"}.items():
        used = [name for name, pattern in plugin_client.USED.items() if pattern.search(line)]
        check(used == [network], f"{line}: {used}")


def record(name, result, **more):
    return {"test": name, "stage": "probe", "result": result, "why": "why " * 100, "values": {}, "when": "2030-01-02T03:04:05Z", "gpu": True,
            "device": "a GPU", "bars": [], "command": "weft-gpu-check", **more}


def case_texts(into):
    import page
    import summary

    lines = summary.lines_of([record(f"t{i}", "fail", lanes=["rank 0"] * 9) for i in range(100)], "a GPU", False)
    check(len(lines) == 60 and lines[-1] == "100 fail; on a GPU", f"{len(lines)} lines, the last {lines[-1]}")
    fast = record("rates", "pass", values={"all_gather_ratio": 0.9, "all_gather_GBps": 90.0})
    bars = summary.bars_of([("all_gather_ratio", "least", 0.75)], fast, [record("copy", "pass", values={"best_copy_GBps": 200})])
    check(bars[0]["value"] == 0.45 and not bars[0]["met"], f"not held to the best copy of the run: {bars}")
    path = os.path.join(into, "results.jsonl")
    with open(path, "w", encoding="utf-8") as out:
        for one in (record("litmus", "pass"), record("abort", "hang"), record("windows gang", "pass"), record("graph gang", "pass", gpu=False)):
            out.write(json.dumps(one) + "\n")
    made = page.page_of(page.records_of([path]))
    for wanted in ("| litmus tests of mem.h, copies at every alignment | - | yes | 1 tests, 2030-01-02 |", "| what is read where | yes | 1 tests, 2030-01-02 |", "| 1 of 1 failed, 2030-01-02 |",
                   "graphs that outlive a communicator | - | yes | never |", "- abort (2030-01-02): hang"):
        check(wanted in made, f"the page lacks {wanted}")


def main():
    with tempfile.TemporaryDirectory() as into:
        try:
            globals()["case_" + CASE](into)
        except AssertionError as error:
            print(f"{CASE}: {error}")
            return 1
    return 0


sys.exit(main())
