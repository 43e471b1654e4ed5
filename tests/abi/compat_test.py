#!/usr/bin/env python3
"""compat_test.py INCLUDE COMPAT.md REFUSE_TEST: the tables have one row for every public function and
every function NCCL has released, no others (settings have rows of their own); with the right release, a state that the page explains,
and a test behind every refusal."""
import re
import sys

import declared
import released


def rows_of(text):
    """(function, other cells) of every table row"""
    lines = re.findall(r"^\| `([a-z]\w+)` \|(.*)\|$", text, flags=re.M)
    return [(name, [cell.strip() for cell in cells.split("|")]) for name, cells in lines]


def names_check(names, public):
    yield from (f"{name} has no row" for name in sorted(public - set(names)))
    yield from (f"{name} has a row and no declaration" for name in sorted(set(names) - public))
    yield from (f"{name} has {names.count(name)} rows" for name in sorted(set(names)) if names.count(name) > 1)


def releases_check(rows, public):
    since = released.functions()
    yield from (f"{name} of NCCL {release} is not declared" for name, release in since.items() if name not in public)
    for name, cells in rows:
        if name.startswith("nccl") and cells[0] != since.get(name):
            yield f"{name} is said to be there since {cells[0]}, not {since.get(name, 'any release known')}"


def states_check(text, rows, refusals):
    states = re.findall(r"^- \*\*(\w+)\*\*: ", text, flags=re.M)
    for name, cells in rows:
        state = cells[1] if name.startswith("nccl") else cells[0]
        if state not in states:
            yield f"{name} has the state '{state}', the page explains {', '.join(states)}"
        if state == "refused" and name + "(" not in refusals:
            yield f"{name} is refused, and no test sees it"


def main(include, page, refuse_test):
    with open(page) as file:
        text = file.read()
    with open(refuse_test) as file:
        refusals = file.read()
    rows = rows_of(text)
    public = {name for name in declared.ours(include) if not name.startswith("pnccl")}
    faults = list(names_check([name for name, _ in rows], public))
    faults += releases_check(rows, public)
    faults += states_check(text, rows, refusals)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
