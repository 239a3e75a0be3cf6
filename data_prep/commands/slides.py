"""``python -m data_prep slides IN OUT --mpp 0.5 --tile 224``: where the tiles of whole slides lie."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import OptionError
from ..slides.folder import FAILED, PixelSizes, find_slides, prepare_slides
from ..slides.tiles import Tiling

HELP = "whole slides: tissue, tiles of a physical size, thumbnails with the grid; exit code 1: some slides failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("source", type=Path, metavar="IN", help="a slide, or a folder of slides; it is only read")
    add("out", type=Path, metavar="OUT", help="bag folder to write or to go on with")
    add("--mpp", type=float, default=0.5, help="micrometres per pixel of a tile (default: 0.5, as a 20x objective)")
    add("--tile", type=int, default=224, help="side of a tile in these pixels (default: 224)")
    add("--overlap", type=float, default=0.0, help="share of a side that neighbours have in common (default: 0)")
    add("--min-tissue", type=float, default=0.5, help="least share of a tile that is tissue (default: 0.5)")
    add("--enlarge", action="store_true", help="blow up slides that are coarser than --mpp in place of refusing them")
    add(
        "--mpp-override",
        nargs="+",
        default=[],
        metavar="MPP",
        help="micrometres per pixel of level 0: 0.25 for slides whose file says none, SLIDE=0.25 or a csv with "
        "slide_id and mpp for these slides, whatever their file says",
    )
    add("--jobs", "--workers", type=int, default=1, help="worker processes (default: 1)")
    add("--overwrite", action="store_true", help="make all slides anew, also with other settings")
    add("--quiet", action="store_true", help="no bar, and no line for a slide that went well")


def run(args: argparse.Namespace) -> int:
    """Tile the slides, a line each; 1 where one failed."""
    if args.jobs < 1:
        raise OptionError(f"--jobs {args.jobs}: expected at least 1")
    tiling = Tiling(args.mpp, args.tile, args.overlap, args.min_tissue, args.enlarge)
    sizes = parse_sizes(args.mpp_override, find_slides(args.source))
    counts = {"slides": 0, "failed": 0, "tiles": 0}
    for row, before in prepare_slides(args.source, args.out, tiling, sizes, args.jobs, args.overwrite, args.quiet):
        failed = row["status"] == FAILED
        if failed or not args.quiet:
            print(_line(row) + (" (done before)" if before else ""), flush=True)
        counts["slides"] += 1
        counts["failed"] += failed
        counts["tiles"] += 0 if failed else row["tiles"]
    what = f"{counts['tiles']} tiles of {args.tile} px at {args.mpp:g} um"
    print(f"{args.out}: {what} on {counts['slides'] - counts['failed']} slides; {counts['failed']} failed")
    return 1 if counts["failed"] else 0


def _line(row: dict) -> str:
    if row["status"] == FAILED:
        return f"{row['slide_id']}: FAILED: {row['reason']}"
    size = f"{row['width']} x {row['height']} px of {row['mpp']:g} um ({row['mpp_source']})"
    return f"{row['slide_id']}: {size}, {row['tissue']:.1%} tissue, {row['tiles']} tiles"


def parse_sizes(words: Sequence[str], slides: dict[str, Path]) -> PixelSizes:
    """What ``--mpp-override`` says.

    Raises:
        OptionError: no number above 0, an unknown slide, a csv without ``slide_id`` and ``mpp``.
    """
    by_slide: dict[str, float] = {}
    otherwise = None
    for word in words:
        name, equals, value = word.rpartition("=")
        if equals:
            if name not in slides:
                raise OptionError(f"--mpp-override {word}: IN has no slide {name!r}, but {sorted(slides)[:5]} ...")
            by_slide[name] = _number(word, value)
        elif word.endswith(".csv"):
            by_slide |= _read_sizes(Path(word))
        else:
            otherwise = _number(word, word)
    return PixelSizes(by_slide, otherwise)


def _read_sizes(path: Path) -> dict[str, float]:
    if not path.is_file():
        raise OptionError(f"--mpp-override {path}: no such file")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"slide_id", "mpp"} <= set(rows[0]):
        raise OptionError(f"--mpp-override {path}: expected a csv with the columns slide_id and mpp, and rows")
    return {row["slide_id"]: _number(f"{path}, {row['slide_id']}", row["mpp"]) for row in rows if row["mpp"]}


def _number(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise OptionError(f"--mpp-override {where}: {text!r}; expected micrometres per pixel, such as 0.25")
    return value
