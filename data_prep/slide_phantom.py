"""Phantom slides: H&E-like tiles of known tissue with their places in millimetres, for learning from where tiles lie.

Command: ``python -m data_prep.slide_phantom OUT --train-slides 16 --test-slides 6 --seed 0``. It writes into OUT:

- ``train.csv`` and ``test.csv``: ``slide,patient,x,y,side,mpp,file,label,tissue``, a row per tile; x, y, side in pixels
  of level 0, mpp in micrometres per such pixel. Every patient has one slide, so none is on both sides.
- ``tiles/SLIDE/X_Y.png``: the tile at 1 micrometre per pixel.

A slide is 20 x 16 mm of stroma, epithelium, tumour and fat in patches some millimetres wide. Tissues differ in
texture: fibres, glands, crowded irregular nuclei, empty cells. Each slide has its own stain (colours and amounts of
haematoxylin and eosin), and but for fat the mean amounts of both are drawn alike for all tissues, so that colour
misleads. Real slides differ in all the ways that are not drawn here: nothing measured on the phantom says how a method
does on patients.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import OptionError
from .one_line import one_line_errors
from .tissue_paint import render_tile, sample_stain

TISSUES = ("stroma", "epithelium", "tumour", "fat")
BIAS = np.array([0.35, 0.25, -0.25, -0.1])  # the larger, the more of the slide; tumour is the rarest
PATCH_MM = 2.0  # standard deviation of the blur that makes patches
RASTER_MM = 0.2
TILE_PX, TILE_MPP = 64, 1.0
LEVEL0_MPP = (0.25, 0.243, 0.226)  # scanners
COLUMNS = ("slide", "patient", "x", "y", "side", "mpp", "file", "label", "tissue")


def tissue_map(rng: np.random.Generator, width_mm: float, height_mm: float) -> np.ndarray:
    """Index into TISSUES on a raster of RASTER_MM, (H, W); -1 is glass."""
    shape = round(height_mm / RASTER_MM), round(width_mm / RASTER_MM)

    def field(blur_mm: float) -> np.ndarray:
        smooth = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), blur_mm / RASTER_MM)
        return (smooth - smooth.mean()) / smooth.std()

    label = np.argmax([field(PATCH_MM) + bias for bias in BIAS], axis=0)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    glass = np.hypot(x, y) + 0.06 * field(1.2) > 0.98
    return np.where(glass, -1, label)


@dataclass(frozen=True)
class SlideOptions:
    """Size of a slide and the distance between the centres of neighbouring tiles."""

    width_mm: float = 20.0
    height_mm: float = 16.0
    pitch_mm: float = 0.9


def write_slide(out: Path, name: str, seed: tuple[int, ...], options: SlideOptions) -> list[dict]:
    """Draw and write the tiles of one slide; returns its rows."""
    rng = np.random.default_rng(seed)
    stain, mpp = sample_stain(rng), float(rng.choice(LEVEL0_MPP))
    labels = tissue_map(rng, options.width_mm, options.height_mm)
    side = round(TILE_PX * TILE_MPP / mpp)
    (out / "tiles" / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for y_mm in np.arange(options.pitch_mm / 2, options.height_mm, options.pitch_mm):
        for x_mm in np.arange(options.pitch_mm / 2, options.width_mm, options.pitch_mm):
            label = labels[int(y_mm / RASTER_MM), int(x_mm / RASTER_MM)]
            if label < 0:
                continue
            x, y = (round(mm * 1000 / mpp - side / 2) for mm in (x_mm, y_mm))
            image, tissue = render_tile(rng, TISSUES[label], stain)
            file = f"tiles/{name}/{x}_{y}.png"
            if not cv2.imwrite(str(out / file), image):
                raise OptionError(f"cannot write {out / file}; choose a folder with room and write access")
            values = name, name.replace("slide", "patient"), x, y, side, mpp, file, TISSUES[label], f"{tissue:.3f}"
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def write_slides(
    out: str | Path,
    train_slides: int = 16,
    test_slides: int = 6,
    small_slides: int = 1,
    seed: int = 0,
    options: SlideOptions | None = None,
) -> dict[str, list[dict]]:
    """Write a set of slides into a new folder; returns the rows of ``train`` and ``test``.

    Args:
        out: folder, new or empty.
        train_slides: slides of ``train.csv``.
        test_slides: slides of ``test.csv``.
        small_slides: so many of the training slides are a third as wide and high, too small for far pairs.
        seed: the same seed gives the same bytes.
        options: size of the slides.

    Raises:
        OptionError: the folder is not empty or a number is out of range.
    """
    out, options = Path(out), options or SlideOptions()
    if out.exists() and any(out.iterdir()):
        raise OptionError(f"{out} is not empty; name a new folder")
    if not 0 <= small_slides <= train_slides or test_slides < 0 or options.pitch_mm < TILE_PX * TILE_MPP / 1000:
        raise OptionError(
            f"train_slides={train_slides}, test_slides={test_slides}, small_slides={small_slides}, pitch "
            f"{options.pitch_mm} mm; expected 0 <= small <= train, test >= 0 and a pitch of {TILE_PX / 1000} mm or more"
        )
    out.mkdir(parents=True, exist_ok=True)
    third = SlideOptions(options.width_mm / 3, options.height_mm / 3, options.pitch_mm)
    written: dict[str, list[dict]] = {"train": [], "test": []}
    for number in range(train_slides + test_slides):
        small = train_slides - small_slides <= number < train_slides
        rows = write_slide(out, f"slide{number:03d}", (seed, number), third if small else options)
        written["train" if number < train_slides else "test"] += rows
    written = {split: rows for split, rows in written.items() if rows}
    for split, rows in written.items():
        with (out / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return written


@one_line_errors
def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.slide_phantom", description="Write phantom slides.")
    parser.add_argument("out", help="new folder")
    parser.add_argument("--train-slides", type=int, default=16)
    parser.add_argument("--test-slides", type=int, default=6)
    parser.add_argument("--small-slides", type=int, default=1, help="training slides without far pairs (default 1)")
    parser.add_argument("--pitch-mm", type=float, default=0.9, help="distance between tiles (default 0.9)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    options = SlideOptions(pitch_mm=args.pitch_mm)
    rows = write_slides(args.out, args.train_slides, args.test_slides, args.small_slides, args.seed, options)
    for split, tiles in rows.items():
        counts = ", ".join(f"{sum(t['label'] == name for t in tiles)} {name}" for name in TISSUES)
        print(f"{args.out}/{split}.csv: {len(tiles)} tiles of {len({t['slide'] for t in tiles})} slides: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
