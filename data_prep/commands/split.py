"""``python -m data_prep split COCO.json ... --to FOLDER``: splits COCO files by patient, as the whole pipeline does.

An output of data_prep may be named in place of files; its duplicate_pairs.csv is then used too. Images and
annotations keep all their fields.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import OptionError
from ..options import Options
from ..split import SIDES
from ..split_coco import split_files, split_text

HELP = "split COCO files anew: by patient and near-duplicates, stratified, stable; or in folds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("source", type=Path, nargs="+", help="COCO files, or one output of data_prep")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="new folder for the json files")
    parser.add_argument("--pairs", type=Path, help="csv of near-duplicate pairs, columns a and b")
    parser.add_argument("--patient-key", default="patient_id", help="field of an image that names its patient")
    parser.add_argument("--split", default="0.8,0.1,0.1", help=f"shares of {', '.join(SIDES)}")
    parser.add_argument("--folds", type=int, default=0, help="so many folds in place of three sides")
    parser.add_argument("--split-from", type=Path, metavar="OLD", help="earlier output whose patients keep their sides")
    parser.add_argument("--leaky-random", action="store_true", help="by image, for comparison only: patients leak")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split")
    parser.add_argument("--indent", type=int, help="indent the json by so many blanks")


def run(args: argparse.Namespace) -> None:
    """Write the files and print the shares."""
    shares = parse_shares(args.split)
    options = Options(
        split=shares,
        folds=args.folds,
        split_from=args.split_from,
        leaky_random=args.leaky_random,
        seed=args.seed,
        indent=args.indent,
    )
    print(split_text(split_files(args.source, args.to, options, args.pairs, args.patient_key)), end="")


def parse_shares(text: str) -> tuple[float, ...]:
    """Numbers between commas.

    Raises:
        OptionError: anything else.
    """
    try:
        return tuple(float(value) for value in text.split(","))
    except ValueError:
        raise OptionError(f"--split {text}: expected three numbers, as in 0.8,0.1,0.1") from None
