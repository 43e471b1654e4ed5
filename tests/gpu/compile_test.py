#!/usr/bin/env python3
"""compile_test.py COMPILE_PY: what src/gpu/device/compile.py says of architectures it cannot build,
one line each. A stand-in compiler knows 75 and 90 only, as a toolkit knows only its own."""
import os
import subprocess
import sys
import tempfile

# Refuses what it does not know in nvcc's words, and makes its output file otherwise.
COMPILER = """#!/bin/sh
for word; do
    case $word in
    *code=sm_75 | *code=sm_90 | *code=compute_90) ;;
    -gencode*) echo "nvcc fatal   : Unsupported gpu architecture '${word%%,*}'"; exit 1 ;;
    esac
    [ "$before" = -o ] && : >"$word"
    before=$word
done
"""


def compile_with(script, archs):
    with tempfile.TemporaryDirectory() as kept:
        compiler = os.path.join(kept, "nvcc")
        with open(compiler, "w", encoding="utf-8") as out:
            out.write(COMPILER)
        os.chmod(compiler, 0o755)
        outputs = [os.path.join(kept, name) for name in ("fatbin", "report", "ptx")]
        return subprocess.run([sys.executable, script, compiler, archs, "int8", "lanes.cu", kept] + outputs,
                              check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def main(script):
    assert compile_with(script, "90,75").returncode == 0
    cases = [("90a", ["'90a'", "-Dgpu_archs"], 1), ("sm_90", ["'sm_90'"], 1), ("75,9", ["'9'"], 1), ("", ["no architecture"], 1),
             (" , ", ["no architecture"], 1), ("75,85", ["Unsupported", "-Dgpu_archs=75,85"], 2)]
    for archs, words, lines in cases:
        result = compile_with(script, archs)
        said = [line for line in result.stdout.splitlines() if line]
        assert result.returncode == 1, (archs, result)
        assert len(said) == lines, (archs, result.stdout)
        for word in words:
            assert word in result.stdout, (archs, result.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
