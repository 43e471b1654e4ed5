"""What is said at the end: at most 60 lines, the worst first; and what figures are worth against the bars."""

LINES_MAX = 60
BAD = ("fail", "crash", "hang")


def best_copy(records, own):
    """GB/s read and written: the best of the run so far and of this record."""
    return max([float(record["values"].get(name) or 0) for record in [*records, own] for name in ("best_copy_GBps", "copy_GBps")], default=0)


def bars_of(bars, record, before):
    """Every bar with its value. Ratios of rates are taken anew, against the best copy of the whole run."""
    values = record.get("values", {})
    copy = best_copy(before, record)
    done = []
    for name, which, limit in bars:
        value = values.get(name)
        rate = values.get(name.replace("_ratio", "_GBps"))
        if name.endswith("_ratio") and rate is not None and copy > 0:
            value = float(rate) / copy
        met = value is not None and (value >= limit if which == "least" else value <= limit)
        done.append({"name": name, "which": which, "limit": limit, "value": value, "met": met})
    return done


def figures(records, stand_in):
    for record in records:
        for bar in record.get("bars", []):
            value = "none" if bar["value"] is None else f"{bar['value']:.3g}"
            verdict = "a stand-in driver has no speed" if stand_in else "met" if bar["met"] else "NOT MET"
            yield f"  {record['test']}: {bar['name']} {value}, at {bar['which']} {bar['limit']}: {verdict}"


def failures(records):
    for record in records:
        if record["result"] in BAD and "switch" not in record:
            yield f"  {record['result']}: {record['stage']}: {record['test']}: {record['why'][:160]}"
            for line in record.get("lanes", [])[:4]:
                yield f"    {line[:150]}"
            if "passes_with" in record:
                yield f"    passes with: {', '.join(record['passes_with']) or 'none of the switches'}"


def others(records):
    for record in records:
        if record["result"] in ("skip", "not run"):
            yield f"  {record['result']}: {record['stage']}: {record['test']}: {record['why'][:120]}"


def lines_of(records, device, stand_in):
    tests = [record for record in records if "switch" not in record]
    counts = {}
    for record in tests:
        counts[record["result"]] = counts.get(record["result"], 0) + 1
    where = "the stand-in driver, which is no GPU" if stand_in else device or "no device was seen"
    last = f"{', '.join(f'{count} {result}' for result, count in sorted(counts.items())) or 'nothing ran'}; on {where}"
    body = ["summary", *failures(tests), *figures(tests, stand_in), *others(tests)]
    if len(body) > LINES_MAX - 1:
        body = body[:LINES_MAX - 2] + [f"  and {len(body) - LINES_MAX + 2} more lines: results.jsonl has all"]
    return body + [last]
