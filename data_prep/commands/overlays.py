"""``python -m data_prep overlays IMAGES OUT``: burned-in marks of a folder of images, found and removed."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path

from ..errors import OptionError
from ..images import write_whole
from ..overlays.folder import COLUMNS, clean_folder
from ..summary import table_csv

HELP = "remove scales, calipers and letters from a folder of images: cleaned images, a mask and a csv row for each"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("images", type=Path, help="folder, searched with all below it; it is only read")
    add("out", type=Path, help="folder to write; empty or not there")
    add("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="worker processes")


def run(args: argparse.Namespace) -> None:
    """Clean the folder, write overlays.csv, print counts and the Doppler frames.

    Raises:
        OptionError: a value that makes no sense.
    """
    if args.jobs < 1:
        raise OptionError(f"--jobs {args.jobs}: expected at least 1")
    found = clean_folder(args.images, args.out, args.jobs)
    write_whole(args.out / "overlays.csv", table_csv(COLUMNS, [one.row() for one in found]).encode())
    for one in found:
        if one.result in ("doppler_frame", "unreadable"):
            print(f"{one.result}: {one.file}: {one.detail}")
    counts = Counter(one.result for one in found)
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())) + f", of {len(found)} images")
