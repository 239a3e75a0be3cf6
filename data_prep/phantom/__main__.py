"""Command line of the phantom: ``python -m data_prep.phantom OUT --patients 100 --seed 0 --jobs 2``."""

from __future__ import annotations

import argparse
import sys

from data_prep.errors import DataPrepError
from data_prep.phantom.export import generate_export


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition("..")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a..b or a number, for instance 2..4") from None


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.phantom", description="Write a phantom export."
    )
    parser.add_argument("out", help="new folder of the export")
    parser.add_argument("--patients", type=int, help="number of patients (default 50 without --images)")
    parser.add_argument(
        "--images-per-patient", type=_span, default=(2, 4), metavar="A..B", help="default 2..4"
    )
    parser.add_argument("--images", type=int, help="exact number of images in all")
    parser.add_argument("--size", type=int, default=480, help="nominal short side in pixels (default 480)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes; the files do not depend on it")
    parser.add_argument("--faults", type=float, default=1.0, help="multiplies the fault rates (default 1)")
    parser.add_argument("--clean", action="store_true", help="no faults, the same as --faults 0")
    parser.add_argument("--twins", action="store_true", help="also write overlay masks and clean twins")
    args = parser.parse_args(argv)
    if args.patients is None and args.images is None:
        args.patients = 50
    return args


def main(argv: list[str] | None = None) -> int:
    """Write the export and print what it holds; 2 after a user error."""
    args = parse_args(argv)
    try:
        summary = generate_export(
            args.out,
            num_patients=args.patients,
            images_per_patient=args.images_per_patient,
            num_images=args.images,
            size=args.size,
            seed=args.seed,
            jobs=args.jobs,
            faults=0.0 if args.clean else args.faults,
            twins=args.twins,
        )
    except DataPrepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{args.out}: {summary.num_patients} patients, {summary.num_images} images, {summary.num_rows} rows"
    )
    print("lesions: " + ", ".join(f"{k} {v}" for k, v in sorted(summary.boxes.items())))
    planted = ", ".join(f"{k} {v}" for k, v in sorted(summary.faults.items()))
    print(f"faults: {planted or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
