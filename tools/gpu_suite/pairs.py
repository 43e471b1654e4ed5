"""Pairwise selection: few cases in which every two values of any two factors occur together."""

import itertools
import random


def pairs_of(case, names):
    return {(a, case[a], b, case[b]) for a, b in itertools.combinations(names, 2)}


def possible_pairs(factors, allowed, tries, rng):
    """Those that some allowed case has; found by completing each pair at random."""
    names = list(factors)
    found = set()
    for a, b in itertools.combinations(names, 2):
        for left, right in itertools.product(factors[a], factors[b]):
            for _ in range(tries):
                case = {name: rng.choice(factors[name]) for name in names} | {a: left, b: right}
                if allowed(case):
                    found.add((a, left, b, right))
                    break
    return found


def completed(pair, factors, allowed, open_pairs, rng, tries):
    """The allowed case with this pair that covers most of what is open."""
    names = list(factors)
    best, best_count = None, -1
    a, left, b, right = pair
    for _ in range(tries):
        case = {name: rng.choice(factors[name]) for name in names} | {a: left, b: right}
        if not allowed(case):
            continue
        count = len(pairs_of(case, names) & open_pairs)
        if count > best_count:
            best, best_count = case, count
    return best


def select(factors, allowed, seed=1, tries=60):
    """Cases as dictionaries, the same for the same seed."""
    rng = random.Random(seed)
    open_pairs = possible_pairs(factors, allowed, 40, rng)
    cases = []
    while open_pairs:
        pair = min(open_pairs, key=str)
        case = completed(pair, factors, allowed, open_pairs, rng, tries)
        if case is None:
            open_pairs.discard(pair)
            continue
        cases.append(case)
        open_pairs -= pairs_of(case, list(factors))
    return cases
