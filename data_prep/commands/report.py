"""``python -m data_prep report OUT EXPORT``: writes OUT/report.html again, from the files of an earlier output."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import OptionError
from ..report import write_report
from ..report.codes import markdown

HELP = "report.html of an output: what was found and done, with pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("out", type=Path, nargs="?", help="output folder of an earlier run")
    parser.add_argument("export", type=Path, nargs="?", help="its export, for the pictures of the originals")
    parser.add_argument("--codes", action="store_true", help="print what the codes of report.csv mean, and stop")


def run(args: argparse.Namespace) -> None:
    """Write the page and print its path."""
    if args.codes:
        print(markdown())
        return
    if args.out is None or args.export is None:
        raise OptionError("report: expected OUT and EXPORT, as in python -m data_prep report OUT EXPORT")
    if not args.export.is_dir():
        raise OptionError(f"report: no folder {args.export}: expected the export that {args.out} was made from")
    print(write_report(args.out, args.export))
