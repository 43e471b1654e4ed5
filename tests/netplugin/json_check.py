"""What weft-net-check writes with --json says the same as its table: json_check.py PLUGIN, the plugin of the checker's tests, with a fault and without."""

import json
import os
import re
import subprocess
import sys
import tempfile

CHECKER = os.path.join(os.environ["WEFT_TEST_BIN"], "weft-net-check")


def run(plugin, fault):
    with tempfile.TemporaryDirectory(prefix="weft-net-check-") as folder:
        path = os.path.join(folder, "results.json")
        checks = [option for name in ("devices", "listen", "order", "virtual-device") for option in ("--only", name)]
        done = subprocess.run([CHECKER, "--max-bytes", "1M", "--json", path, *checks, plugin], env={**os.environ, "TOY_MUTANT": fault},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        with open(path, encoding="utf-8") as file:
            return done, json.load(file)


def compare(plugin, fault, states):
    done, told = run(plugin, fault)
    print(done.stdout)
    lines = re.findall(r"^v(\d+) +(\S+) +(ok|FAILED|skipped) ?(.*)$", done.stdout, re.MULTILINE)
    assert told["plugin"] == plugin, told["plugin"]
    assert [(str(r["abi"]), r["check"], r["result"], r["why"]) for r in told["results"]] == lines, told
    assert {r["abi"] for r in told["results"]} == {8, 9, 10, 11, 12}
    assert {r["result"] for r in told["results"]} == states, told
    assert all(isinstance(r["ms"], int) and 0 <= r["ms"] < 600_000 for r in told["results"])
    count = {state: sum(r["result"] == state for r in told["results"]) for state in ("ok", "FAILED", "skipped")}
    assert f"{count['ok']} passed, {count['FAILED']} failed, {count['skipped']} skipped\n" in done.stdout
    assert (done.returncode == 0) == (count["FAILED"] == 0)


compare(sys.argv[1], "", {"ok"})
compare(sys.argv[1], "handle-overrun", {"ok", "FAILED"})
