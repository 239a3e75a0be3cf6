"""Bags of hand-written digits: the smallest set on which a head that classifies bags can be judged.

After the MNIST bags of Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018
(arXiv 1802.04712), section 4.2: a bag is positive when it holds a nine. The digits are scikit-learn's, 8 x 8 pixels,
1 797 of them, bundled with it; an instance is its 64 pixels in [0, 1]. No digit is in bags of two splits.

Command: ``python -m data_prep.digit_bags OUT --train 200 --test 50 --seed 0`` (extra ``selfsup``, for scikit-learn), or
``--task arrangement``: every bag is a square of ``--across`` x ``--across`` digits with as many nines, ``together``
where they touch by their sides and ``scattered`` where no two touch; only where they lie tells the labels apart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bag_folder import DrawnBag, told, write_bag_folder
from .errors import OptionError
from .one_line import one_line_errors
from .wsi_layout import pick_scattered, pick_together

TASKS = ("nine", "arrangement")
TARGET = 9
SIDE = 8  # pixels of a digit
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}  # of the digits
TRIES = 100


@dataclass(frozen=True)
class DigitOptions:
    """Bags of each split, half of them positive; sizes of the task ``nine``; square and nines of ``arrangement``."""

    task: str = "nine"
    train: int = 200
    val: int = 50
    test: int = 50
    mean: float = 10.0
    sd: float = 2.0
    across: int = 10
    nines: int = 8


def digit_bags(options: DigitOptions, seed: int = 0) -> Iterator[DrawnBag]:
    """The bags, split after split, negative and positive in turn.

    Raises:
        OptionError: an option is out of range, or scikit-learn is missing.
    """
    _check(options)
    pixels, digits = _digits()
    order = np.random.default_rng((seed, 0)).permutation(len(digits))
    ends = np.round(np.cumsum(list(SHARES.values())) * len(digits)).astype(int)
    pools = dict(zip(SHARES, np.split(order, ends[:-1]), strict=True))
    draw = _nine if options.task == "nine" else _arrangement
    for number, split in enumerate(SHARES):
        rng = np.random.default_rng((seed, 1, number))
        for k in range(getattr(options, split)):
            rows, label, coords = draw(rng, pools[split], digits, k % 2, options)
            instances = pixels[rows], digits[rows] == TARGET
            yield DrawnBag(f"{split}{k:04d}", label, split, *instances, coords, None if coords is None else SIDE)


def _nine(
    rng: np.random.Generator, pool: np.ndarray, digits: np.ndarray, positive: int, options: DigitOptions
) -> tuple[np.ndarray, str, None]:
    """Digits drawn alike from all; drawn again until there is a nine, or none."""
    size = max(round(rng.normal(options.mean, options.sd)), 1)
    while True:
        rows = rng.choice(pool, size, replace=False)
        if (digits[rows] == TARGET).any() == bool(positive):
            return rows, ("negative", "positive")[positive], None


def _arrangement(
    rng: np.random.Generator, pool: np.ndarray, digits: np.ndarray, together: int, options: DigitOptions
) -> tuple[np.ndarray, str, np.ndarray]:
    """As many nines in either, in cells that touch or do not; other digits in all other cells."""
    free = np.ones((options.across, options.across), bool)
    pick = pick_together if together else pick_scattered
    cells = next(filter(None, (pick(rng, free, options.nines) for _ in range(TRIES))), None)
    if cells is None:
        raise OptionError(
            f"{options.nines} nines that do not touch have no room in {options.across} x {options.across} digits "
            f"(tried {TRIES} times); ask for fewer, or a larger square"
        )
    nine = np.zeros(free.shape, bool)
    nine[tuple(np.transpose(cells))] = True
    rows = np.empty(nine.size, int)
    rows[nine.ravel()] = rng.choice(pool[digits[pool] == TARGET], options.nines)
    rows[~nine.ravel()] = rng.choice(pool[digits[pool] != TARGET], nine.size - options.nines)
    y, x = np.divmod(np.arange(nine.size), options.across)
    return rows, ("scattered", "together")[together], np.stack([x, y], axis=1) * SIDE


def _check(options: DigitOptions) -> None:
    bags = options.train, options.val, options.test
    if options.task not in TASKS or min(bags) < 0 or options.mean < 1 or options.mean > 50 or options.sd < 0:
        raise OptionError(f"{options}; expected a task of {TASKS}, no negative number, and bags of 1 to 50 digits")
    if options.task == "arrangement" and not 2 <= options.nines < options.across**2:
        raise OptionError(f"nines={options.nines}, across={options.across}; expected 2 nines or more, and other digits")


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (1797, 64) in [0, 1] and digits (1797,)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise OptionError(f"the digits are scikit-learn's ({error}); pip install 'medkit[selfsup]'") from None
    found = load_digits()
    return found.data.astype(np.float32) / 16, found.target


@one_line_errors
def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.digit_bags", description="Write bags of digits.")
    add, preset = parser.add_argument, DigitOptions()
    add("out", type=Path, help="new folder")
    add("--task", choices=TASKS, default=preset.task)
    for split in SHARES:
        add(f"--{split}", type=int, default=getattr(preset, split), help=f"bags (default {getattr(preset, split)})")
    add("--mean", type=float, default=preset.mean, help="size of the bags of nine (default 10)")
    add("--sd", type=float, default=preset.sd, help="its standard deviation (default 2)")
    add("--across", type=int, default=preset.across, help="digits across a bag of arrangement (default 10)")
    add("--nines", type=int, default=preset.nines, help="in every bag of arrangement (default 8)")
    add("--seed", type=int, default=0)
    args = vars(parser.parse_args(argv))
    out, seed = args.pop("out"), args.pop("seed")
    rows = write_bag_folder(out, digit_bags(DigitOptions(**args), seed))
    print(told(out, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
