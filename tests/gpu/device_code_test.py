#!/usr/bin/env python3
"""device_code_test.py ARCHS FILE...: what can be known of the kernels without a GPU.

FILEs are kernels_<type>.fatbin, .report and .ptx (and kernels_move.*, of the kernels move_rows and board_rows) as src/gpu/device/compile.py makes them. The report:
no stack, no spills, registers within bounds, every kernel for every architecture. The PTX: the rules
of src/gpu/device/mem.h. The fatbins together: at most 8 MiB. First the checks are shown text that
breaks each rule.
"""
import collections
import os
import re
import sys

FATBIN_BYTES_MAX = 8 << 20
FAMILIES = ("lanes", "oneshot")
OPERATIONS = ("sum", "prod", "max", "min")
# 512 threads of this many registers fill a multiprocessor's 65,536; launch bounds promise it.
REGISTERS_MAX = 128
SHARED_BYTES_MAX = 48 << 10

# (pattern, why not)
FORBIDDEN = [
    (r"\.nc\b|\bldu\.", "a read-only load: the data changes under the kernel"),
    (r"\b(ld|st)\.volatile", "plain volatile has no order with other scopes"),
    (r"\b(membar|fence)\b", "a stand-alone fence"),
    # bar.red is the barrier that tells all threads whether one said true
    (r"(?<!bar\.)(?<!cta\.)\b(atom|red)\.", "a read-modify-write"),
    (r"\b(shfl|vote|match|redux|elect|activemask|bar\.warp)\b", "a warp intrinsic"),
    (r"\b(mapa|barrier\.cluster)\b|::cluster", "clusters"),
    (r"\.local\b", "memory of one thread: a stack"),
    (r"\bcall\b", "a function call"),
    (r"\bfma\.", "a product fused with a sum rounds otherwise than the host"),
    (r"\b(ld|st)\.(?!global|shared|param|const|acquire\.sys\.global|relaxed\.sys\.global|release\.sys\.global)",
     "an access to memory of no named kind"),
]
# By family: what a kernel that lacks it does not do.
NEEDED = {
    "lanes": [
        (r"ld\.global\.v2\.u64", "16-byte loads"),
        (r"st\.global\.v2\.u64", "16-byte stores"),
        (r"ld\.acquire\.sys\.global\.u64", "an acquire load at system scope"),
        (r"st\.release\.sys\.global\.u64", "a release store at system scope"),
    ],
    "oneshot": [
        (r"ld\.relaxed\.sys\.global\.u64", "LL loads"),
        (r"st\.relaxed\.sys\.global\.u64", "LL stores"),
        (r"st\.release\.sys\.global\.u64", "a release store at system scope"),
    ],
    "move": [
        (r"ld\.global\.v2\.u64", "16-byte loads"),
        (r"st\.global\.v2\.u64", "16-byte stores"),
        (r"ld\.relaxed\.sys\.global\.u64", "a look at the word that stops it"),
    ],
    "board": [
        (r"ld\.global\.v2\.u64", "16-byte loads"),
        (r"st\.global\.v2\.u64", "16-byte stores"),
        (r"ld\.relaxed\.sys\.global\.u64", "a look at the word that stops it"),
        (r"st\.relaxed\.sys\.global\.u64", "words that it clears"),
        (r"st\.release\.sys\.global\.u64", "a card that is stored last"),
    ],
}


def entries(ptx):
    """(architecture, kernel, body) of every kernel; what stands outside of kernels, too."""
    arch, outside, result = "?", [], []
    kernel, body = None, []
    for line in ptx.splitlines():
        target = re.match(r"\.target sm_(\w+)", line)
        start = re.match(r"\.visible \.entry (\w+)", line)
        if target:
            arch = target.group(1)
        if start:
            kernel, body = start.group(1), []
        (outside if kernel is None else body).append(line)
        if line == "}" and kernel is not None:
            result.append((arch, kernel, body))
            kernel = None
    return result, outside


def code_of(line):
    return line.split("//", 1)[0]


def body_faults(where, body, needed):
    inline = False
    for line in body:
        if "begin inline asm" in line:
            inline = True
        if "end inline asm" in line:
            inline = False
        code = code_of(line)
        for pattern, why in FORBIDDEN:
            if re.search(pattern, code):
                yield f"{where}: {why}: {code.strip()}"
        if not inline and re.search(r"\b(ld|st)\.[\w.]*global", code):
            yield f"{where}: global memory is touched outside mem.h: {code.strip()}"
    text = "\n".join(body)
    for pattern, what in needed:
        if not re.search(pattern, text):
            yield f"{where}: no {what}"


def ptx_faults(name, ptx, kernels, archs):
    found, outside = entries(ptx)
    for line in outside:
        if re.search(r"\.func\b|\.global\b|\.const\b", code_of(line)):
            yield f"{name}: something beside kernels: {line.strip()}"
    have = {(arch, kernel) for arch, kernel, _ in found}
    for arch in archs:
        for kernel in kernels:
            if (arch, kernel) not in have:
                yield f"{name}: {kernel} is missing for {arch}"
    for arch, kernel, body in found:
        yield from body_faults(f"{kernel} for {arch}", body, NEEDED[kernel.split("_", 1)[0]])


def report_faults(name, report, kernels, archs):
    found = collections.Counter()
    kernel = None
    for line in report.splitlines():
        start = re.search(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", line)
        if start:
            kernel = start.groups()
            found[kernel] += 1
        if re.search(r"\d+ bytes stack frame", line) and not re.search(
                r"\b0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads", line):
            yield f"{kernel}: {line.strip()}"
        used = re.search(r"Used (\d+) registers", line)
        if used and int(used.group(1)) > REGISTERS_MAX:
            yield f"{kernel}: {used.group(1)} registers, at most {REGISTERS_MAX}"
        shared = re.search(r"(\d+) bytes smem", line)
        if shared and int(shared.group(1)) > SHARED_BYTES_MAX:
            yield f"{kernel}: {shared.group(1)} bytes of shared memory, at most {SHARED_BYTES_MAX}"
    for arch in archs:
        for wanted in kernels:
            if found[(wanted, arch)] != 1:
                yield f"{name}: {found[(wanted, arch)]} reports of {wanted} for {arch}"


def size_faults(fatbin_bytes):
    if fatbin_bytes == 0:
        yield "no fatbins"
    if fatbin_bytes > FATBIN_BYTES_MAX:
        yield f"the fatbins have {fatbin_bytes} bytes, at most {FATBIN_BYTES_MAX}"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


GOOD_PTX = """.target sm_90
.visible .entry lanes_k(
{
 // begin inline asm
 ld.global.v2.u64 {%rd1, %rd2}, [%rd3];
 st.global.v2.u64 [%rd3], {%rd1, %rd2};
 ld.acquire.sys.global.u64 %rd1, [%rd3];
 st.release.sys.global.u64 [%rd3], %rd1;
 // end inline asm
 ld.shared.u64 %rd1, [%rd2];
 ld.param.u64 %rd1, [p];
 mad.lo.s32 %r1, %r2, %r3, %r4;
}
"""
BAD_LINES = ["ld.global.nc.u64 %rd1, [%rd2];", "ld.volatile.global.u64 %rd1, [%rd2];", "fence.sc.sys;", "membar.sys;",
             "atom.global.add.u64 %rd1, [%rd2], 1;", "red.global.add.u64 [%rd2], 1;", "shfl.sync.idx.b32 %r1, %r2, 0, 31;",
             "vote.sync.any.pred %p1, %p2, -1;", "barrier.cluster.arrive;", "st.local.u64 [%rd1], %rd2;",
             "call.uni (retval), f, (p);", "fma.rn.f32 %f1, %f2, %f3, %f4;", "ld.u64 %rd1, [%rd2];",
             "ld.acquire.gpu.global.u64 %rd1, [%rd2];", "ld.global.u64 %rd1, [%rd2];"]
GOOD_REPORT = """ptxas info    : Compiling entry function 'lanes_k' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 17288 bytes smem
"""
BAD_REPORTS = [("0 bytes stack frame", "8 bytes stack frame"), ("0 bytes spill stores", "4 bytes spill stores"),
               ("Used 64", "Used 129"), ("17288 bytes smem", "60000 bytes smem"), ("'lanes_k'", "'other'")]


def checks_can_fail():
    assert not list(ptx_faults("good", GOOD_PTX, ["lanes_k"], ["90"])), list(ptx_faults("good", GOOD_PTX, ["lanes_k"], ["90"]))
    for line in BAD_LINES:
        assert list(ptx_faults("bad", GOOD_PTX.replace(" mad.lo", f" {line}\n mad.lo"), ["lanes_k"], ["90"])), line
    for pattern, what in NEEDED["lanes"]:
        assert list(ptx_faults("bad", re.sub(pattern, "mov", GOOD_PTX), ["lanes_k"], ["90"])), what
    small = GOOD_PTX.replace("lanes_k", "oneshot_k")
    assert list(ptx_faults("bad", small, ["oneshot_k"], ["90"]))
    small = small.replace(" mad.lo", " // begin inline asm\n ld.relaxed.sys.global.u64 %rd1, [%rd2];\n"
                          " st.relaxed.sys.global.u64 [%rd2], %rd1;\n // end inline asm\n mad.lo")
    assert not list(ptx_faults("good", small, ["oneshot_k"], ["90"]))
    for pattern, what in NEEDED["oneshot"]:
        assert list(ptx_faults("bad", re.sub(pattern, "mov", small), ["oneshot_k"], ["90"])), what
    assert list(ptx_faults("bad", GOOD_PTX, ["lanes_k"], ["80", "90"]))
    assert not list(report_faults("good", GOOD_REPORT, ["lanes_k"], ["90"]))
    for old, new in BAD_REPORTS:
        assert list(report_faults("bad", GOOD_REPORT.replace(old, new, 1), ["lanes_k"], ["90"])), new
    assert list(size_faults(0)) and list(size_faults(FATBIN_BYTES_MAX + 1)) and not list(size_faults(FATBIN_BYTES_MAX))


def main(archs, *paths):
    checks_can_fail()
    archs = archs.split(",")
    faults, fatbin_bytes, registers = [], 0, []
    for path in paths:
        base, suffix = os.path.splitext(os.path.basename(path))
        kind = base.split("_", 1)[1]
        kernels = ["move_rows", "board_rows"] if kind == "move" else [f"{family}_{kind}_{op}" for family in FAMILIES for op in OPERATIONS]
        if suffix == ".fatbin":
            fatbin_bytes += os.path.getsize(path)
        elif suffix == ".report":
            faults += report_faults(base, read(path), kernels, archs)
            registers += [int(n) for n in re.findall(r"Used (\d+) registers", read(path))]
        else:
            faults += ptx_faults(base, read(path), kernels, archs)
    faults += size_faults(fatbin_bytes)
    if not registers:
        faults.append("no reports")
    print("\n".join(faults))
    print(f"{len(registers)} kernels, {min(registers, default=0)} to {max(registers, default=0)} registers, "
          f"fatbins {fatbin_bytes / (1 << 20):.2f} MiB")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
