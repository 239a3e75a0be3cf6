"""Bags of made-up tile features whose label is how kinds of tissue lie: in patches, or mixed tile by tile.

Every slide has its own shares of six kinds of tissue, its own outline and its own stain, which shifts all its
features; label ``patches`` or ``mixed`` says only how the kinds lie, so an average of the features cannot tell. Unlike
the digits of data_prep/digit_bags.py, slides differ in more than their label, as real ones do, and a method that learns
by telling slides apart has something to learn. ``banks/`` holds the same tiles under shifts that the tiles of a draw
share, as a shared colour augmentation would give. Nothing measured on it says how a method does on patients.

Command: ``python -m data_prep.tissue_bags OUT --train 200 --test 100 --seed 0``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .bag_folder import DrawnBag, told, write_bag_folder
from .errors import OptionError
from .one_line import one_line_errors

LABELS = ("mixed", "patches")
SIDE = 224  # pixels of a tile


@dataclass(frozen=True)
class TissueOptions:
    """Slides of each split; tiles across the glass; kinds, channels; deviations of what shifts features.

    Attributes:
        train, test: slides, half of them in patches.
        across: tiles along a side; 60 % of them are tissue.
        kinds: of tissue, each a random vector of deviation 1.
        width: channels of a feature.
        patch: deviation in tiles of the blur that makes patches.
        noise: of each tile.
        stain: of a slide's shift.
        draws: of the bank.
        shift: of a draw's shift.
    """

    train: int = 200
    test: int = 100
    across: int = 20
    kinds: int = 6
    width: int = 32
    patch: float = 2.0
    noise: float = 0.5
    stain: float = 0.5
    draws: int = 8
    shift: float = 1.0


@dataclass(frozen=True)
class Tissue:
    """A slide: its bag, and the features (A, N, D) of its bank."""

    bag: DrawnBag
    bank: np.ndarray


def tissue_slides(options: TissueOptions, seed: int = 0) -> Iterator[Tissue]:
    """The slides, split after split, mixed and in patches in turn.

    Raises:
        OptionError: an option is out of range.
    """
    sizes = options.train, options.test, options.stain, options.noise, options.shift
    counts = options.across - 1, options.kinds - 1, options.width, options.draws
    if min(sizes) < 0 or options.patch <= 0 or min(counts) < 1:
        raise OptionError(f"{options}; expected no negative number, a patch above 0, 2 kinds and tiles across or more")
    kinds = np.random.default_rng((seed, 0)).normal(size=(options.kinds, options.width))
    for number, split in enumerate(("train", "test")):
        for k in range(getattr(options, split)):
            rng = np.random.default_rng((seed, 1, number, k))
            cells, of_kind = _layout(rng, options, patches=bool(k % 2))
            clean = kinds[of_kind] + rng.normal(0, options.stain, options.width)  # (N, D)
            noise = rng.normal(0, options.noise, (1 + options.draws, *clean.shape))
            shifts = rng.normal(0, options.shift, (options.draws, 1, options.width))
            bag = DrawnBag(
                f"{split}{k:04d}", LABELS[k % 2], split, clean + noise[0], np.full(len(clean), -1), cells * SIDE, SIDE
            )
            yield Tissue(bag, clean + noise[1:] + shifts)


def _layout(rng: np.random.Generator, options: TissueOptions, patches: bool) -> tuple[np.ndarray, np.ndarray]:
    """Cells (N, 2) x, y of the tissue and their kinds (N,)."""
    outline = _field(rng, options.across, 4.0)
    favour = rng.normal(0, 0.5, options.kinds)
    fields = np.stack([_field(rng, options.across, options.patch) for _ in favour])  # (kinds, H, W)
    y, x = np.nonzero(outline > np.quantile(outline, 0.4))
    of_kind = (fields + favour[:, None, None]).argmax(axis=0)[y, x]
    return np.stack([x, y], axis=1), of_kind if patches else rng.permutation(of_kind)


def _field(rng: np.random.Generator, side: int, blur: float) -> np.ndarray:
    """Smooth noise (side, side) of deviation 1."""
    noise = cv2.GaussianBlur(rng.normal(size=(side, side)), (0, 0), blur)
    return noise / noise.std()


def write_tissue(out: str | Path, options: TissueOptions, seed: int = 0) -> list[dict[str, str]]:
    """Write ``bags.csv``, ``features/`` and ``banks/``; returns the table's rows.

    Raises:
        OptionError: the folder is not empty, or an option is out of range.
    """
    banks = Path(out) / "banks"

    def bags() -> Iterator[DrawnBag]:
        for slide in tissue_slides(options, seed):
            banks.mkdir(exist_ok=True)
            assert slide.bag.coords is not None
            places = np.broadcast_to(slide.bag.coords, (*slide.bank.shape[:2], 2))
            features = slide.bank.astype(np.float16)
            np.savez(banks / f"{slide.bag.name}.npz", features=features, coords=places, patch_size_level0=float(SIDE))
            yield slide.bag

    return write_bag_folder(out, bags())


@one_line_errors
def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.tissue_bags", description="Write bags of tissue.")
    preset = TissueOptions()
    parser.add_argument("out", type=Path, help="new folder")
    for name, value in vars(preset).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"default {value}")
    parser.add_argument("--seed", type=int, default=0)
    args = vars(parser.parse_args(argv))
    out, seed = args.pop("out"), args.pop("seed")
    rows = write_tissue(out, TissueOptions(**args), seed)
    print(told(out, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
