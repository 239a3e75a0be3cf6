"""``python -m data_prep dedup IMAGES``: near-duplicates of a folder of images; prints groups, writes pairs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..dedup import DISTANCE, MIN_CORRELATION
from ..duplicates import Duplicates, find_duplicates, look_at, pair_rows
from ..errors import OptionError
from ..images import write_whole
from ..summary import table_csv

HELP = "near-duplicates of a folder of images: groups, the image to keep first, on the screen; pairs as csv"
COLUMNS = ("a", "b", "hash_distance", "correlation", "turn", "group", "keep")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("images", type=Path, help="folder, searched with all below it; it is only read")
    add("--out", type=Path, help="csv file for the pairs; it is replaced")
    add("--invariant", action="store_true", help="find mirrored and (by 90 degrees) rotated copies too")
    add("--distance", type=int, default=DISTANCE, help="candidate pairs differ in at most so many of 64 bits")
    add("--correlation", type=float, default=MIN_CORRELATION, help="least correlation of the scan areas")
    add("--min-size", type=int, default=0, help="leave out images that wide or less and that high or less")
    add("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="worker processes")


def run(args: argparse.Namespace) -> None:
    """Look, compare, print and write.

    Raises:
        OptionError: a value that makes no sense.
    """
    for name, low, high in (("distance", 0, 64), ("correlation", -1, 1), ("jobs", 1, None), ("min_size", 0, None)):
        value = getattr(args, name)
        if value < low or (high is not None and value > high):
            limits = f"between {low} and {high}" if high is not None else f"at least {low}"
            raise OptionError(f"--{name.replace('_', '-')} {value}: expected {limits}")
    look = look_at(args.images, args.jobs, args.min_size)
    found = find_duplicates(look, args.distance, args.correlation, args.invariant)
    for name, (reason, detail) in look.faults.items():
        print(f"not readable: {name}: {reason} {detail}".rstrip())
    print(_text(found), end="")
    if args.out:
        write_whole(args.out, table_csv(COLUMNS, pair_rows(found)).encode())


def _text(found: Duplicates) -> str:
    lines = [f"{number}: " + ", ".join(found.files[k] for k in group) for number, group in enumerate(found.groups)]
    more = sum(map(len, found.groups)) - len(found.groups)
    total = f"{len(found.files)} images, {len(found.pairs)} pairs, {len(found.groups)} groups, {more} beyond the first"
    return "\n".join([*lines, total, ""])
