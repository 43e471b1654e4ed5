"""No client yet: whether a preload puts our library before any other in a Python process."""

import client


def main():
    ours, theirs, file = client.library_check()
    client.finish("pass", weft_version=ours, nccl_version=theirs, file=file)


main()
