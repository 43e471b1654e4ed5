#!/usr/bin/env python3
"""embed.py OUTPUT FILE...: an assembly source that carries every kernels_<type>.fatbin among FILE... as
constant data, weft_kernels_<type> up to weft_kernels_<type>_end."""
import os
import sys


def image(path):
    name = "weft_" + os.path.basename(path).removesuffix(".fatbin")
    return "\n".join([f".globl {name}", f".hidden {name}", f".globl {name}_end", f".hidden {name}_end",
                      ".balign 64", f"{name}:", f'.incbin "{os.path.abspath(path)}"', f"{name}_end:", ".byte 0", ""])


def main(output, *paths):
    with open(output, "w", encoding="utf-8") as out:
        out.write('.section .rodata\n')
        for path in paths:
            if path.endswith(".fatbin"):
                out.write(image(path))
        out.write('.section .note.GNU-stack,"",%progbits\n')


if __name__ == "__main__":
    main(*sys.argv[1:])
