"""Synthetic whole slides: pyramidal TIFFs with a pixel size, H&E-like tissue on glass, tumour at known places.

Command: ``python -m data_prep.wsi_phantom OUT --slides 40 --seed 0 --task tumour`` (extra ``slides``). It writes into
OUT:

- ``slides/SLIDE.tif``: 2 x 2 mm, about 4000 x 4000 pixels, four levels;
- ``truth/SLIDE.json``: outlines of the tumour in pixels of level 0 (``python -m data_prep.wsi_truth`` makes labels of
  tiles from them);
- ``labels.csv``: ``slide_id,case_id,label,split``. Every fourth case has two slides; a case is on one side of the
  split.

Tasks: ``tumour`` (label ``tumour`` or ``normal``; tumour is 2 to 12 % of the tissue), and ``arrangement`` (every slide
has tumour in the same number of cells of the grid of ``--tile-um`` from the corner; label ``together`` where they form
one nest, ``scattered`` where no two touch). A tile of that grid shows nothing of the arrangement, so only a method that
knows where tiles lie can do better than chance. Every case has its own stain and one of two pixel sizes. Real slides
differ in all the ways that are not drawn here: nothing measured on the phantom says how a method does on patients.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import OptionError
from .one_line import one_line_errors
from .slides.pyramid import write_pyramid
from .tissue_paint import Stain, balance, paint, sample_stain
from .wsi_layout import KINDS, TUMOUR, benign_kinds, smooth_field, tissue_pieces, tumour_cells, tumour_nests
from .wsi_truth import SlideTruth

LABELS = {"tumour": ("normal", "tumour"), "arrangement": ("scattered", "together")}
COLUMNS = ("slide_id", "case_id", "label", "split")
MPP = (0.5, 0.46)  # scanners
SHARE = (0.02, 0.12)  # of the tissue that is tumour
SPLITS = ("train", "test", "train", "val", "train", "train", "test", "train", "train", "test")
LEVELS = 4
TRIES = 20


@dataclass(frozen=True)
class WsiOptions:
    """Side of a slide in micrometres, side of a tile and number of tumour tiles of the task ``arrangement``."""

    task: str = "tumour"
    size_um: int = 2000
    tile_um: float = 112.0
    tumour_tiles: int = 12


@dataclass(frozen=True)
class Place:
    """A slide's row and what its drawing starts from."""

    slide: str
    case: str
    label: int
    split: str
    case_seed: tuple[int, ...]
    seed: tuple[int, ...]


def plan(slides: int, seed: int) -> list[Place]:
    """Cases of alternating label, every fourth pair of them with two slides, until there are enough slides."""
    places: list[Place] = []
    case = 0
    while len(places) < slides:
        for _ in range(2 if case // 2 % 4 == 2 else 1):
            number = len(places)
            split = SPLITS[case // 2 % len(SPLITS)]
            places.append(
                Place(f"slide{number:03d}", f"case{case:03d}", case % 2, split, (seed, 0, case), (seed, 1, number))
            )
        case += 1
    return places[:slides]


def lay_out(rng: np.random.Generator, label: int, mpp: float, options: WsiOptions) -> tuple[np.ndarray, np.ndarray]:
    """Kinds (size, size), index into KINDS, TUMOUR or GLASS; and the tumour (size, size) bool.

    Raises:
        OptionError: after many tries the tissue has no room for the tumour tiles.
    """
    cell_um = round(options.tile_um / mpp) * mpp  # a tile is a whole number of pixels
    for _ in range(TRIES):
        pieces = 1 if options.task == "arrangement" else int(rng.integers(1, 4))
        tissue = tissue_pieces(rng, options.size_um, pieces)
        kinds = benign_kinds(rng, tissue)
        tumour: np.ndarray | None = np.zeros(tissue.shape, bool)
        if options.task == "arrangement":
            tumour = tumour_cells(rng, tissue, cell_um, options.tumour_tiles, together=label == 1)
            other = np.random.default_rng(0)  # tissue that takes one arrangement alone would tell the label
            if tumour_cells(other, tissue, cell_um, options.tumour_tiles, together=label == 0) is None:
                continue
        elif label == 1:
            tumour = tumour_nests(rng, tissue, float(np.exp(rng.uniform(*np.log(SHARE)))))
        if tumour is not None:
            return np.where(tumour, TUMOUR, kinds), tumour
    raise OptionError(
        f"{options.tumour_tiles} tumour tiles of {options.tile_um} um have no room on a slide of {options.size_um} um "
        f"(tried {TRIES} times); ask for fewer or smaller tiles, or a larger slide"
    )


def render(rng: np.random.Generator, kinds: np.ndarray, stain: Stain, mpp: float) -> np.ndarray:
    """The slide (H, W, 3) uint8 RGB at ``mpp``, of kinds (size, size)."""
    size = len(kinds)
    amounts = np.zeros((size, size, 2), np.float32)
    for kind, tissue in enumerate((*KINDS, "tumour")):
        count, parts, boxes, _ = cv2.connectedComponentsWithStats((kinds == kind).astype(np.uint8))
        for part in range(1, count):
            x, y, width, height, _area = boxes[part].tolist()
            texture = paint(rng, tissue, max(width, height, 16))[:height, :width]
            inside = parts[y : y + height, x : x + width] == part
            amounts[y : y + height, x : x + width][inside] = (texture * balance(tissue, texture))[inside]
    thick = np.stack([np.exp(0.2 * smooth_field(rng, size, 250) + 0.08 * smooth_field(rng, size, 100))] * 2, axis=2)
    image = stain.colour(amounts * thick) + rng.normal(0, 2.5, (size, size, 1)).astype(np.float32)
    image = image.clip(0, 255).round().astype(np.uint8)[..., ::-1]
    side = round(size / mpp)
    return cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=cv2.INTER_LINEAR)


def write_slide(out: Path, place: Place, options: WsiOptions) -> SlideTruth:
    """Draw and write one slide with its truth."""
    case = np.random.default_rng(place.case_seed)
    stain, mpp = sample_stain(case), float(case.choice(MPP))
    rng = np.random.default_rng(place.seed)
    kinds, tumour = lay_out(rng, place.label, mpp, options)
    write_pyramid(out / "slides" / f"{place.slide}.tif", render(rng, kinds, stain, mpp), mpp, LEVELS)
    truth = SlideTruth.of_mask(tumour, mpp)
    truth.write(out / "truth" / f"{place.slide}.json")
    return truth


def write_wsi(
    out: str | Path,
    slides: int = 40,
    seed: int = 0,
    options: WsiOptions | None = None,
    show: Callable[[str], None] | None = None,
) -> list[dict[str, str]]:
    """Write a set into a new folder; returns the rows of ``labels.csv``.

    Args:
        out: folder, new or empty.
        slides: how many.
        seed: the same seed gives the same pixels.
        options: task and sizes.
        show: called with the name of each slide that was written.

    Raises:
        OptionError: the folder is not empty, or an option is out of range.
    """
    out, options = Path(out), options or WsiOptions()
    if out.exists() and any(out.iterdir()):
        raise OptionError(f"{out} is not empty; name a new folder")
    if options.task not in LABELS or slides < 2 or options.size_um < 300 or options.tile_um < 16:
        raise OptionError(
            f"slides={slides}, {options}; expected 2 slides or more, a task of {list(LABELS)}, slides of 300 um or "
            "more and tiles of 16 um or more"
        )
    for folder in ("slides", "truth"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for place in plan(slides, seed):
        write_slide(out, place, options)
        values = place.slide, place.case, LABELS[options.task][place.label], place.split
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        if show:
            show(place.slide)
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return rows


@one_line_errors
def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.wsi_phantom", description="Write synthetic slides.")
    parser.add_argument("out", help="new folder")
    parser.add_argument("--slides", type=int, default=40)
    parser.add_argument("--task", choices=list(LABELS), default="tumour")
    parser.add_argument("--size-um", type=int, default=2000, help="side of a slide in micrometres (default 2000)")
    parser.add_argument("--tile-um", type=float, default=112.0, help="side of arrangement's tumour tiles (default 112)")
    parser.add_argument("--tumour-tiles", type=int, default=12, help="of every slide of arrangement (default 12)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    options = WsiOptions(args.task, args.size_um, args.tile_um, args.tumour_tiles)
    rows = write_wsi(args.out, args.slides, args.seed, options)
    counts = ", ".join(f"{sum(row['label'] == name for row in rows)} {name}" for name in LABELS[args.task])
    print(f"{args.out}/labels.csv: {len(rows)} slides of {len({row['case_id'] for row in rows})} cases: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
