"""``python -m data_prep [run] EXPORT OUT``: the whole pipeline; prints the summary."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..dedup import DISTANCE
from ..errors import OptionError
from ..options import Options
from ..pipeline import prepare
from ..readers import READERS

HELP = "from a raw export of images to a clean COCO data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
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
    add("--keep-overlays", action="store_true", help="leave burned-in marks in the images")
    add("--indent", type=int, help="indent the annotation json by so many blanks")
    add("--max-side", type=int, default=0, help="shrink written images to this longer side")
    add("--overwrite", action="store_true", help="replace an earlier output")


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


def run(args: argparse.Namespace) -> None:
    """Run the pipeline and print its summary."""
    prepare(args.export, args.out, options_from(args))
    print((args.out / "summary.txt").read_text(encoding="utf-8"), end="")
