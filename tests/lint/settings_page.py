#!/usr/bin/env python3
"""docs/SETTINGS.md is what `weft-settings --reference` prints."""
import pathlib
import subprocess
import sys

tool, page = sys.argv[1:]
printed = subprocess.run([tool, "--reference"], check=True, capture_output=True, text=True).stdout
if printed != pathlib.Path(page).read_text():
    sys.exit(f"{page} is out of date: run `weft-settings --reference > docs/SETTINGS.md`")
