"""Sums up Meson's testlog.json: what failed with the end of its output, why something was skipped,
and one last line of counts."""

import json
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}
TAIL_LINES = 40


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        print(f"no results of the tests: {error}")
        return []


def output(test):
    text = test.get("stdout") or ""
    errors = test.get("stderr") or ""
    return (text + ("\n" if text and errors else "") + errors).rstrip().splitlines()


def main():
    tests = read(sys.argv[1])
    passed = [test for test in tests if test["result"] in PASSED]
    skipped = [test for test in tests if test["result"] in SKIPPED]
    failed = [test for test in tests if test not in passed and test not in skipped]
    for test in skipped:
        reason = output(test)
        print(f"skipped: {test['name']}" + (f": {reason[-1]}" if reason else ""))
    for test in failed:
        print(f"failed: {test['name']} ({test['result']}, exit status {test.get('returncode')})")
        for line in output(test)[-TAIL_LINES:]:
            print(f"    {line}")
    failures = len(failed) if tests else 1
    print(f"{len(passed)} passed, {failures} failed, {len(skipped)} skipped")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
