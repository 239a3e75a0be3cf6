"""``python -m data_prep [run] EXPORT OUT``: the whole pipeline; prints the summary, then time and memory.

Exit code 0: done. 2: refused, nothing was written. 3: interrupted, or images could not be written; the same command
goes on where this one stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from ..dedup import DISTANCE
from ..errors import OptionError
from ..options import Options
from ..pipeline import prepare
from ..progress import Usage
from ..readers import READERS

HELP = "from a raw export of images to a clean COCO data set"
LIMITS = {
    "min_size": (0, None),
    "dedup_distance": (0, 64),
    "folds": (0, None),
    "jobs": (1, None),
    "indent": (0, 16),
    "max_side": (0, None),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command; every field of `Options` has one."""
    parser.add_argument("export", type=Path, help="folder of the raw export; it is only read")
    parser.add_argument("out", type=Path, help="folder to write; empty or not there")
    _add_reading(parser.add_argument_group("reading"))
    _add_cleaning(parser.add_argument_group("cleaning"))
    _add_split(parser.add_argument_group("split"))
    _add_output(parser.add_argument_group("output"))
    _add_running(parser.add_argument_group("running (no output file depends on these)"))


def _add_reading(group) -> None:
    group.add_argument("--reader", choices=["auto", *READERS], default="auto", help="layout of the export")
    group.add_argument("--columns", type=Path, metavar="YAML", help="maps the columns of a foreign table to ours")
    group.add_argument("--classes", help="lesion classes in their fixed order, a,b,c (default: the layout's own)")
    group.add_argument(
        "--keep-patient-ids",
        action="store_true",
        help="DICOM: keep patient ids as they are, and frames with burned-in text",
    )
    group.add_argument("--pseudonym-key", type=Path, metavar="FILE", help="DICOM: secret that makes the pseudonyms")


def _add_cleaning(group) -> None:
    group.add_argument("--min-size", type=int, default=400, help="drop images at most so wide and at most so high")
    group.add_argument(
        "--dedup-distance", type=int, default=DISTANCE, help="candidate pairs differ in at most so many of 64 bits"
    )
    group.add_argument("--dedup-invariant", action="store_true", help="also find rotated and mirrored copies")
    group.add_argument("--keep-overlays", action="store_true", help="leave burned-in marks in the images")


def _add_split(group) -> None:
    group.add_argument("--split", default="0.8,0.1,0.1", help="shares of train, val and test")
    group.add_argument("--folds", type=int, default=0, help="so many folds in place of three sides")
    group.add_argument("--split-from", type=Path, metavar="OLD", help="earlier output whose patients keep their sides")
    group.add_argument("--leaky-random", action="store_true", help="by image, for comparison only: patients leak")
    group.add_argument("--seed", type=int, default=0, help="seed of the split")


def _add_output(group) -> None:
    group.add_argument("--indent", type=int, help="indent the annotation json by so many blanks")
    group.add_argument("--max-side", type=int, default=0, help="shrink written images to this longer side")


def _add_running(group) -> None:
    group.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="worker processes")
    group.add_argument("--scheduler", default="", metavar="ADDRESS", help="Dask scheduler in place of --jobs processes")
    group.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    group.add_argument("--quiet", action="store_true", help="no progress bars, no time and memory")


def options_from(args: argparse.Namespace) -> Options:
    """Checked options.

    Raises:
        OptionError: a value that makes no sense.
    """
    for name, (low, high) in LIMITS.items():
        value = getattr(args, name)
        if value is not None and (value < low or (high is not None and value > high)):
            limits = f"between {low} and {high}" if high is not None else f"at least {low}"
            raise OptionError(f"--{name.replace('_', '-')} {value}: expected {limits}")
    for name, what in (("columns", "is_file"), ("pseudonym_key", "is_file"), ("split_from", "is_dir")):
        path = getattr(args, name)
        if path is not None and not getattr(path, what)():
            kind = "folder" if what == "is_dir" else "file"
            raise OptionError(f"--{name.replace('_', '-')} {path}: no such {kind}")
    try:
        split = tuple(float(value) for value in args.split.split(","))
    except ValueError:
        raise OptionError(f"--split {args.split}: expected three numbers, as in 0.8,0.1,0.1") from None
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes is not None else None
    if classes is not None and (not all(classes) or len({name.casefold() for name in classes}) < len(classes)):
        raise OptionError(f"--classes {args.classes}: expected different names with commas between, as in cyst,HCC")
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(Options)}
    return Options(**{**values, "split": split, "classes": classes})


def run(args: argparse.Namespace) -> int:
    """Run the pipeline and print its summary; returns the exit code."""
    usage = Usage()
    summary = prepare(args.export, args.out, options_from(args), usage=usage)
    print((args.out / "summary.txt").read_text(encoding="utf-8"), end="")
    if not args.quiet:
        print(f"\n{usage.text()}", end="")
    missing = sum(sum(row["dropped"].values()) for row in summary["stages"] if row["stage"] == "write")
    if missing:
        print(
            f"data_prep: {missing} images could not be written (not_written in report.csv); "
            "the same command tries them again",
            file=sys.stderr,
        )
    return 3 if missing else 0
