"""Command line: ``python -m data_prep EXPORT OUT`` prints the summary, or one line with exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from .dedup import DISTANCE
from .errors import DataPrepError, OptionError
from .pipeline import Options, prepare
from .readers import READERS


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep", description="From a raw export of images to a clean COCO data set."
    )
    add = parser.add_argument
    add("export", type=Path, help="folder with images/ and table.csv or masks/; it is only read")
    add("out", type=Path, help="folder to write; empty or not there")
    add("--reader", choices=["auto", *READERS], default="auto", help="layout of the export")
    add(
        "--classes",
        help="lesion classes in their fixed order, a,b,c (default: the liver's, or those of the masks)",
    )
    add(
        "--min-size",
        type=int,
        default=400,
        help="drop images that are this wide or less and this high or less",
    )
    add(
        "--dedup-distance",
        type=int,
        default=DISTANCE,
        help="candidate pairs differ in at most so many of 64 bits",
    )
    add("--split", default="0.8,0.1,0.1", help="shares of train, val and test")
    add("--leaky-random", action="store_true", help="split by image, for comparison only: patients leak")
    add("--seed", type=int, default=0, help="seed of the split")
    add("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="worker processes")
    add("--keep-scales", action="store_true", help="leave coloured scales in the images")
    add("--indent", type=int, help="indent the annotation json by so many blanks")
    add("--max-side", type=int, default=0, help="shrink written images to this longer side")
    add("--overwrite", action="store_true", help="replace an earlier output")
    return parser


def options_from(args: argparse.Namespace) -> Options:
    """Checked options.

    Raises:
        OptionError: a value that makes no sense.
    """
    for name, low, high in (
        ("min_size", 0, None),
        ("dedup_distance", 0, 64),
        ("jobs", 1, None),
        ("max_side", 0, None),
    ):
        value = getattr(args, name)
        if value < low or (high is not None and value > high):
            limits = f"between {low} and {high}" if high is not None else f"at least {low}"
            raise OptionError(f"--{name.replace('_', '-')} {value}: expected {limits}")
    try:
        split = tuple(float(value) for value in args.split.split(","))
    except ValueError:
        raise OptionError(f"--split {args.split}: expected three numbers, as in 0.8,0.1,0.1") from None
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes is not None else None
    if classes is not None and (not all(classes) or len({name.casefold() for name in classes}) < len(classes)):
        raise OptionError(f"--classes {args.classes}: expected different names with commas between, as in cyst,HCC")
    values = {name: value for name, value in vars(args).items() if name not in ("export", "out")}
    return Options(**{**values, "split": split, "classes": classes})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    args = build_parser().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        prepare(args.export, args.out, options_from(args))
    except (DataPrepError, OSError) as error:
        print(f"data_prep: {error}", file=sys.stderr)
        return 2
    print((args.out / "summary.txt").read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
