"""``python -m data_prep fundus EXPORT OUT``: cropped, graded fundus photographs with saliency maps."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..fundus import prepare_fundus
from ..fundus_options import FundusOptions
from ..progress import Usage
from .split import parse_shares

HELP = "fundus photographs with grades: crop to the retina, saliency maps, sides by patient"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("export", type=Path, help="folder of the photographs; it is only read")
    add("out", type=Path, help="folder to write; empty or not there")
    add("--table", type=Path, default=Path("labels.csv"), help="csv or xlsx file, in EXPORT or anywhere")
    add("--image-column", default="image", help="column with the path of the image")
    add("--patient-column", default="patient", help="column with the patient, who stays on one side")
    add("--label-column", default="label", help="column with the grade: a whole number from 0, empty where unknown")
    add("--images", type=Path, metavar="FOLDER", help="folder in EXPORT where these paths start (default: it is found)")
    add("--size", type=int, default=512, help="side of the written squares in pixels")
    add("--split", default="0.6,0.2,0.2", help="shares of train, val and test")
    add("--seed", type=int, default=0, help="seed of the split")
    add("--no-crop", action="store_true", help="squeeze the whole frame: the photographs are cropped already")
    add("--no-saliency", action="store_true", help="write no maps")
    add("--jobs", "--workers", type=int, default=min(4, os.cpu_count() or 1), help="worker processes")
    add("--overwrite", action="store_true", help="replace an earlier output")
    add("--quiet", action="store_true", help="no progress bar, no time and memory")


def run(args: argparse.Namespace) -> None:
    """Prepare the set, print its summary, then time and memory."""
    usage = Usage()
    options = FundusOptions(
        table=args.table,
        image_column=args.image_column,
        patient_column=args.patient_column,
        label_column=args.label_column,
        images=args.images,
        size=args.size,
        split=parse_shares(args.split.replace("/", ",")),
        seed=args.seed,
        crop=not args.no_crop,
        saliency=not args.no_saliency,
        jobs=args.jobs,
        overwrite=args.overwrite,
        quiet=args.quiet,
    )
    prepare_fundus(args.export, args.out, options, usage)
    print((args.out / "summary.txt").read_text(encoding="utf-8"), end="")
    if not args.quiet:
        print(f"\n{usage.text()}", end="")
