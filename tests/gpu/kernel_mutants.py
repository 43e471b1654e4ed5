#!/usr/bin/env python3
"""kernel_mutants.py ROOT BUILD COMPILER... [-- NAME...]: does a unit test see each wrong change of the kernels?

Every mutant is one wrong change to a copy of a header of src/gpu/device. The unit test that must see it is compiled
against the copy, by the host's compiler, and run. A test that passes has let its mutant survive, which fails this one.
Before that, each test must pass with the headers as they are. A mutant that makes a wait endless is one whose test does
not end: it has ten times as long as the right one took, and a minute. NAME...: only these.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

DEVICE = "src/gpu/device"


class Mutant(NamedTuple):
    name: str
    header: str
    old: str  # once in the header
    new: str
    test: str  # tests/unit/gpu/<test>_test.cpp
    case: str  # as Catch2 selects it
    hangs: bool = False


BACK_TO_BACK = "two ranks of one launch*"
OTHER_WORD = "a small operation waits for each word*"
ROWS = "rows move whole*"
MUTANTS = [
    Mutant("await-too-early", "lanes.h", "while (load_acquire(word) < value) {", "while (load_acquire(word) + 1 < value) {",
           "lanes", "a lane that was stopped at a word*"),
    Mutant("await-first-tile-only", "lanes.h", "    const uint64_t value = value_of(here, step, tile);\n    uint32_t polls",
           "    const uint64_t value = value_of(here, step, 0);\n    uint32_t polls", "lanes", "every tile is awaited*"),
    Mutant("await-ignores-abort", "lanes.h", "            if (load_relaxed(here.part->abort_word) != 0) {", "            if (false) {",
           "lanes", "a lane that was stopped at a word*", True),
    Mutant("begin-ignores-abort", "lanes.h", "const bool begin = shared.stop == 0;", "const bool begin = true;",
           "lanes", "a lane that begins after the abort*"),
    Mutant("post-before-copy", "lanes.h", "        block_sync(here.block);\n    }\n    return Ended::well;", "    }\n    return Ended::well;",
           "lanes", "a word is posted when every thread*"),
    Mutant("card-of-another-round", "lanes.h", "load_acquire(&from.card->turn) >= from.turn);", "load_acquire(&from.card->turn) > 0);",
           "lanes", "a card that an earlier operation left*"),
    Mutant("fingerprint-not-compared", "lanes.h", "return a.packed != b.packed || a.root != b.root;", "return false;",
           "lanes", "arguments that differ*"),
    Mutant("half-a-fingerprint", "lanes.h", "return a.packed != b.packed || a.root != b.root;", "return a.packed != b.packed;",
           "lanes", "arguments that differ*"),
    Mutant("epoch-stays", "lanes.h", "load_element<uint64_t>(epoch) + moved", "load_element<uint64_t>(epoch)", "lanes", BACK_TO_BACK),
    Mutant("last-tile-left-out", "lanes.h", "return left < tile_bytes ? left : tile_bytes;", "return left < tile_bytes ? 0 : tile_bytes;",
           "lanes", BACK_TO_BACK),
    Mutant("one-source-less", "lanes.h", "static_cast<int>(sources),", "static_cast<int>(sources) - 1,", "lanes", BACK_TO_BACK),
    Mutant("heads-not-awaited", "oneshot.h", "all = all && ll_flag(ll_load(post.words(part.rank, from) + i)) == post.flag();", "",
           "oneshot", OTHER_WORD),
    Mutant("flag-of-another-round", "oneshot.h", "return ll_flag(low) == flag && ll_flag(high) == flag;",
           "return ll_flag(low) >= flag && ll_flag(high) >= flag;", "oneshot", OTHER_WORD),
    Mutant("half-a-unit", "oneshot.h", "return ll_flag(low) == flag && ll_flag(high) == flag;", "return ll_flag(low) == flag;",
           "oneshot", OTHER_WORD),
    Mutant("small-fingerprint-not-compared", "oneshot.h", "(from != part.rank && differ(part.args, head_args(post, from)))", "false",
           "oneshot", "small operations with arguments that differ*"),
    Mutant("one-part-of-the-inbox", "oneshot.h", "(epoch & 1) * part().rank_count", "0 * part().rank_count",
           "oneshot", "flags that come round*"),
    Mutant("words-not-renewed", "oneshot.h", "post.refreshes() ? oneshot_bytes_max : used", "used", "oneshot", "flags that come round*"),
    Mutant("wait-of-a-block-ignores-abort", "lanes.h", "threads.index == 0 && load_relaxed(abort_word) != 0)) {", "false)) {",
           "oneshot", OTHER_WORD, True),
    Mutant("copy-without-tail", "leaf.h", "at = cut.tail + own; at < cut.end;", "at = cut.tail + own; at < cut.tail;",
           "leaf", "copy: any count*"),
    Mutant("vectors-beyond-the-tail", "leaf.h", "at = base + first; at < cut.tail;", "at = base + first; at < cut.end;",
           "leaf", "copy: any count*"),
    Mutant("elements-among-vectors", "leaf.h", "threads.loops == Loops::elements ? cut.tail : cut.head", "cut.head",
           "leaf", "every way of the loops*"),
    Mutant("half-a-vector", "mem.h", "    store_element(to, value.low);\n    store_element(to + 8, value.high);",
           "    store_element(to, value.low);", "leaf", "copy: any count*"),
    Mutant("segment-off-by-one", "move.h", "for (uint64_t segment = index; segment < segments;",
           "for (uint64_t segment = index + 1; segment < segments;", "move", ROWS),
    Mutant("last-segment-too-long", "move.h", "left < move_segment_bytes ? left : move_segment_bytes);", "move_segment_bytes);",
           "move", ROWS),
    Mutant("places-not-compared", "board.h", "    return !differ(launch.args, card_args(card)) &&\n           load_element<uint64_t>(&card->addresses[0]) == launch.places[0] &&",
           "    return !differ(launch.args, card_args(card)) &&", "board", "a card that speaks of another place*"),
    Mutant("void-card-taken", "board.h", "wrong = wrong || !card_is_open(card) ||", "wrong = wrong ||", "board", "a void card stops*"),
    Mutant("card-before-rows", "board.h", "whole ? card_open : card_void", "card_open", "board", "stopped before*"),
    Mutant("stop-not-looked-at", "move.h", "        if (move_stopped(threads, block, launch)) {\n            return false;", "        if (false) {\n            return false;",
           "move", "rows that are stopped while they move*"),
]


class Judge:
    def __init__(self, root, build, compiler, folder):
        self.root, self.build, self.folder = root, build, folder
        self.compiler = [word for word in compiler if not word.startswith("-l")]
        self.links = [word for word in compiler if word.startswith("-l")]
        self.took = {}  # by case, seconds

    def built(self, test, changed):
        """The program of a test; `changed`: a folder whose headers go before the tree's."""
        program = os.path.join(self.folder, "program")
        libraries = ["tests/libweft_test_main.a", "src/reduce/libweft_reduce.a", "src/base/libweft_base.a"]
        command = [*self.compiler, "-std=c++20", "-O0", "-w", "-ffp-contract=off", "-D_GNU_SOURCE", "-pthread"]
        command += [f"-I{changed}", f"-I{self.root}", f"{self.root}/tests/unit/gpu/{test}_test.cpp"]
        command += [os.path.join(self.build, library) for library in libraries] + [*self.links, "-o", program]
        result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.returncode != 0:
            raise SystemExit(f"{test}_test.cpp does not compile against {changed}:\n{result.stdout[-3000:]}")
        return program

    def ended(self, program, case, seconds):
        """The exit status, None: it did not end. What is left of it goes."""
        process = subprocess.Popen([program, case], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def right_ones(self, mutants):
        for test in sorted({mutant.test for mutant in mutants}):
            program = self.built(test, self.root)
            for case in sorted({mutant.case for mutant in mutants if mutant.test == test}):
                begin = time.monotonic()
                if self.ended(program, case, 600) != 0:
                    yield f"{test}_test.cpp, '{case}': fails without any mutant"
                self.took[case] = time.monotonic() - begin

    def fault(self, mutant):
        """Why the mutant is no good, or that it survived; empty: it was seen."""
        with open(os.path.join(self.root, DEVICE, mutant.header)) as file:
            text = file.read()
        if text.count(mutant.old) != 1:
            return f"its line is {text.count(mutant.old)} times in {mutant.header}: say anew what it changes"
        changed = os.path.join(self.folder, mutant.name)
        os.makedirs(os.path.join(changed, DEVICE))
        with open(os.path.join(changed, DEVICE, mutant.header), "w") as file:
            file.write(text.replace(mutant.old, mutant.new))
        patience = 60 + 10 * self.took[mutant.case] if not mutant.hangs else 10 + 10 * self.took[mutant.case]
        status = self.ended(self.built(mutant.test, changed), mutant.case, patience)
        if status == 0:
            return f"survives {mutant.test}_test.cpp, '{mutant.case}'"
        if (status is None) != mutant.hangs:
            return f"{'does not end' if status is None else 'ends'}, which is not how '{mutant.case}' should see it"
        return ""


def main(root, build, *rest):
    compiler = list(rest[:rest.index("--")] if "--" in rest else rest)
    names = list(rest[rest.index("--") + 1:]) if "--" in rest else [mutant.name for mutant in MUTANTS]
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    assert not unknown, f"no such mutants: {', '.join(sorted(unknown))}"
    mutants = [mutant for mutant in MUTANTS if mutant.name in names]
    assert mutants and len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(root, build, compiler, folder)
        faults = list(judge.right_ones(mutants))
        for mutant in [] if faults else mutants:
            fault = judge.fault(mutant)
            print(f"{mutant.name}: {fault or 'seen'}", flush=True)
            faults += [mutant.name] if fault else []
    print(f"{len(mutants)} mutants, {len(faults)} faults", *faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
