#!/usr/bin/env python3
"""compat_test.py INCLUDE COMPAT.md: the tables have one row for every public function, no others."""
import re
import sys

import declared


def main(include, page):
    with open(page) as file:
        rows = re.findall(r"^\| `(\w+)` \|", file.read(), flags=re.M)
    public = {name for name in declared.ours(include) if not name.startswith("pnccl")}
    faults = [f"{name} has no row" for name in sorted(public - set(rows))]
    faults += [f"{name} has a row and no declaration" for name in sorted(set(rows) - public)]
    faults += [f"{name} has {rows.count(name)} rows" for name in sorted(set(rows)) if rows.count(name) > 1]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
