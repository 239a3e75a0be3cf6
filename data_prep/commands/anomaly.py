"""``python -m data_prep anomaly EXPORT OUT``: mixed, healthy, val and test images for anomaly detection."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..anomaly import prepare_anomaly
from ..anomaly_options import CROPS, AnomalyOptions
from ..errors import OptionError
from ..progress import Usage
from .split import parse_shares

HELP = "anomaly detection: an unlabelled mix, healthy images, val and test, by patient"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("export", type=Path, help="folder of the images, one folder per class unless --table or --coco; only read")
    add("out", type=Path, help="folder to write; empty or not there")
    add("--table", type=Path, help="csv or xlsx file with a row per image, in EXPORT or anywhere")
    add("--image-column", default="image", help="column with the path of the image")
    add("--label-column", default="label", help="column with the label; empty where it is unknown")
    add("--patient-column", default="", help="column with the patient, who has one role")
    add("--mask-column", default="", help="column with the path of a mask, not 0 where anomalous")
    add("--healthy", default="healthy,normal", help="labels or folders that mean healthy; all others are anomalous")
    add("--patient-pattern", default="", metavar="REGEX", help="finds the patient in a path where no column names one")
    add("--coco", action="store_true", help="EXPORT is an OUT of data_prep: images with boxes are anomalous")
    add("--patches", type=int, default=0, metavar="SIDE", help="cut squares of SIDE pixels with and without a lesion")
    add("--patches-per-image", type=int, default=2, help="lesion-free patches wanted of each image")
    add("--contamination", default="0.3", help="share of anomalous images in mixed; as-is takes all that is left")
    add("--healthy-share", type=float, default=0.5, help="share of the healthy training images for role healthy")
    add("--healthy-size", type=int, default=0, help="number of images of role healthy in its place")
    add("--mixed-size", type=int, default=0, help="number of images of role mixed (default: the most possible)")
    add("--split", default="0.6,0.2,0.2", help="shares of training (mixed and healthy), val and test")
    add("--size", type=int, default=256, help="side of the written squares in pixels, 0: as they are")
    add("--crop", choices=CROPS, default="none", help="square: cut to the central square; none: squeeze")
    add("--drop-top", type=float, default=0.0, help="share of the rows cut off at the top first")
    add("--seed", type=int, default=0, help="seed of the roles and patches")
    add("--jobs", "--workers", type=int, default=min(4, os.cpu_count() or 1), help="worker processes")
    add("--overwrite", action="store_true", help="replace an earlier output")
    add("--quiet", action="store_true", help="no progress bar, no time and memory")


def run(args: argparse.Namespace) -> None:
    """Prepare the set, print its summary, then time and memory."""
    usage, given = Usage(), vars(args).copy()
    for name in ("export", "out"):
        given.pop(name)
    given["healthy"] = tuple(name.strip() for name in args.healthy.split(",") if name.strip())
    given["split"] = parse_shares(args.split.replace("/", ","))
    given["contamination"] = _share(args.contamination)
    prepare_anomaly(args.export, args.out, AnomalyOptions(**given), usage)
    print((args.out / "summary.txt").read_text(encoding="utf-8"), end="")
    if not args.quiet:
        print(f"\n{usage.text()}", end="")


def _share(text: str) -> float | None:
    if text == "as-is":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise OptionError(f"--contamination {text}: expected a number from 0 to below 1, or as-is") from error
