"""``python -m data_prep check EXPORT``: read any layout and say what is there; nothing is written."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..options import Options
from ..readers import READERS, read_export
from ..readers.overview import overview

HELP = "say what an export holds: its layout, counts, and how often each trouble occurs; writes nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("export", type=Path, help="folder of the export; it is only read")
    add_input_arguments(parser)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Options about reading, the same for every command that reads an export."""
    add = parser.add_argument
    add("--reader", choices=["auto", *READERS], default="auto", help="layout of the export")
    add("--columns", type=Path, help="yaml file that names the columns of the table, or the colours of the masks")
    add("--classes", help="lesion classes in their fixed order, a,b,c (default: those of the layout)")
    add("--keep-patient-ids", action="store_true", help="no pseudonyms for patient ids of DICOM headers")
    add("--pseudonym-key", type=Path, help="file with a secret of 16 bytes or more that the pseudonyms depend on")


def run(args: argparse.Namespace) -> None:
    """Read and print."""
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes else None
    values = {name: value for name, value in vars(args).items() if name not in ("export", "classes")}
    print(overview(read_export(args.export, Options(**values, classes=classes))), end="")
