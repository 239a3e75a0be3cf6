"""``python -m data_prep saliency SET``: saliency maps for a set that data_prep has prepared, in SET/saliency."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..errors import OptionError
from ..progress import Usage
from ..saliency_folder import MapOptions, write_maps

HELP = "saliency maps (SET/saliency/*.png) for the images of a prepared set, for the pre-training of SSiT"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("set", type=Path, help="folder that data_prep wrote; saliency/ is added to it")
    add("--circle", action="store_true", help="fundus photographs: contrast step, nothing outside the circle")
    add("--jobs", "--workers", type=int, default=min(4, os.cpu_count() or 1), help="worker processes")
    add("--overwrite", action="store_true", help="replace earlier maps")
    add("--quiet", action="store_true", help="no progress bar, no time and memory")


def run(args: argparse.Namespace) -> None:
    """Write the maps and print what became of the images."""
    if args.jobs < 1:
        raise OptionError(f"--jobs {args.jobs}: expected at least 1")
    usage = Usage()
    options = MapOptions(circle=args.circle, jobs=args.jobs, overwrite=args.overwrite, quiet=args.quiet)
    summary = write_maps(args.set, options, usage)
    print(f"{summary['maps']} maps in {args.set / 'saliency'}; on average {summary['salient']:.1%} of a map above 127")
    if not args.quiet:
        print(f"\n{usage.text()}", end="")
