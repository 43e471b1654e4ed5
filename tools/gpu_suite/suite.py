#!/usr/bin/env python3
"""The suite for somebody else's GPU machine: suite.py [--stage NAME] [--bundle DIR] [--out DIR] ...

Every test is a process (or some) with its own deadline; the ones that tell most come first. A JSON line a test goes to OUT/results.jsonl at
once; the last lines of the output, at most 60, are the summary. After a failure the health kernel decides whether to go on, and the first
failure of a kind is tried again with switches, one at a time. Needs python3 and the bundle (tools/gpu_suite/bundle.py) only.
"""

import argparse
import fnmatch
import json
import os
import sys
import time

import cases
import running
import summary

HERE = os.path.dirname(os.path.abspath(__file__))
BAD = ("fail", "crash", "hang")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=[*cases.STAGES, "all"], default="all")
    parser.add_argument("--bundle", default=HERE, help="folder with weft-gpu-check and libnccl.so.2; by default this script's")
    parser.add_argument("--driver", help="the CUDA driver, unless it is the loader's libcuda.so.1")
    parser.add_argument("--out", default=os.environ.get("OUT", "gpu-suite-results"), help="where results go; by default $OUT")
    parser.add_argument("--first-failed", action="store_true", help="what failed in OUT/results.jsonl runs first")
    parser.add_argument("--only", default="*", help="only tests whose name fits this pattern")
    parser.add_argument("--budget", type=float, default=520, help="seconds for a stage; what does not fit is not run")
    parser.add_argument("--deadline", type=int, help="seconds for every test instead of its own")
    parser.add_argument("--quick", action="store_true", help="few and small tests, to try the suite itself")
    return parser.parse_args()


def failed_before(path):
    """Names whose last result there was bad."""
    last = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if "switch" not in record and record["result"] != "not run":
                    last[record["test"]] = record["result"]
    return {name for name, result in last.items() if result in BAD}


class Suite:
    def __init__(self, options):
        self.options = options
        self.place = running.Place(options.bundle, options.driver)
        os.makedirs(options.out, exist_ok=True)
        self.path = os.path.join(options.out, "results.jsonl")
        self.failed = failed_before(self.path) if options.first_failed else set()
        self.file = open(self.path, "a", encoding="utf-8")
        self.records = []
        self.kinds_tried = set()
        self.device = ""
        self.lost = ""

    def is_stand_in(self):
        return self.device.startswith("stand-in") or bool(self.options.driver)

    def keep(self, record):
        self.device = record.get("values", {}).get("device", self.device)
        record["device"] = self.device or "none seen"
        record["gpu"] = bool(self.device) and not self.is_stand_in()
        self.records.append(record)
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        where = f" with {record['switch']}" if "switch" in record else ""
        print(f"{record['result']:8} {record.get('seconds', 0):7.2f} s  {record['stage']}: {record['test']}{where}  {record['why']}", flush=True)
        for line in record.get("lanes", []):
            print(f"         {line}", flush=True)

    def run(self, stage, case, **more):
        record = running.run(self.place, case, self.is_stand_in())
        record.update(stage=stage, **more)
        record["bars"] = summary.bars_of(case.bars, record, self.records)
        self.keep(record)
        return record

    def health(self, stage):
        """Whether the device still answers; a process that was killed may hold it for a moment."""
        for wait in (0, 3):
            time.sleep(wait)
            case = cases.check("health", "health", deadline=10)
            if self.run(stage, case, switch="nothing, after a failure")["result"] == "pass":
                return True
        self.lost = "the device answers no more: the health kernel failed"
        return False

    def switches(self, stage, case):
        """Which of them make it pass."""
        passing = []
        for name, tried in cases.switched(case):
            record = self.run(stage, tried, switch=name)
            passing += [name] if record["result"] == "pass" else []
            if record["result"] in ("crash", "hang") and not self.health(stage):
                break
        print(f"         {case.name}: passes with: {', '.join(passing) or 'none of the switches'}", flush=True)
        return passing

    def after_failure(self, stage, case, record):
        if not self.health(stage):
            return
        one_call = case.arguments[:1] == ["correct"] and case.processes == 1 and not case.sanitizer
        if not one_call or record["kind"] in self.kinds_tried:
            return
        self.kinds_tried.add(record["kind"])
        record["passes_with"] = self.switches(stage, case)

    def stage(self, name):
        end = time.monotonic() + self.options.budget
        chosen = [case for case in cases.STAGES[name](self.options.quick) if fnmatch.fnmatch(case.name, self.options.only)]
        chosen.sort(key=lambda case: case.name not in self.failed)
        for case in chosen:
            case.deadline = self.options.deadline or case.deadline
            why = self.lost or ("" if time.monotonic() < end else "the stage's time is over")
            if why:
                self.keep({"test": case.name, "stage": name, "result": "not run", "why": why, "values": {}, "kind": case.kind, "bars": []})
                continue
            record = self.run(name, case)
            if record["result"] in BAD:
                self.after_failure(name, case, record)


def main():
    options = arguments()
    for needed in ("weft-gpu-check", "libnccl.so.2"):
        if not os.path.exists(os.path.join(options.bundle, needed)):
            sys.exit(f"no {needed} in {options.bundle}: name a bundle with --bundle; tools/gpu_suite/bundle.py makes one")
    suite = Suite(options)
    for name in cases.STAGES if options.stage == "all" else [options.stage]:
        suite.stage(name)
    lines = summary.lines_of(suite.records, suite.device, suite.is_stand_in())
    with open(os.path.join(options.out, "summary.txt"), "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)
    return 1 if any(record["result"] in BAD for record in suite.records if "switch" not in record) or suite.lost else 0


if __name__ == "__main__":
    sys.exit(main())
