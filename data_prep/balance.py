"""Evens out the sides of a split: counts of images, diagnoses, lesions, as near as can be to the wanted shares.

The cost of a split is the sum over sides and features of (count - wanted)^2 / (total * wanted). A move of one unit
must lower it by `PAYS`, so that in a large set, where a unit weighs little, nothing moves and the split is stable.
Used by ``data_prep.split``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

PAYS = 0.002
MAX_MOVES = 1000


class Table:
    """Features of the units, as numbers.

    Attributes:
        values: (U, F) float, how often a unit has a feature.
        wanted: (S, F) float, how often a side should have it.
        weight: (S, F) float, weight of a squared difference.
    """

    def __init__(self, features: Sequence[Counter[str]], shares: Sequence[float]) -> None:
        names = sorted(set().union(*features))
        self.values = np.array([[unit[name] for name in names] for unit in features], np.float64)  # (U, F)
        totals = self.values.sum(axis=0)
        self.wanted = np.outer(shares, totals)
        self.weight = 1.0 / (totals * self.wanted)

    def counts(self, sides: np.ndarray) -> np.ndarray:
        """Counts (S, F) of the units that have a side; -1 is none."""
        return np.stack([self.values[sides == side].sum(axis=0) for side in range(len(self.wanted))])

    def change(self, counts: np.ndarray, side: int, units: np.ndarray, sign: int) -> np.ndarray:
        """Change (M,) of the cost when ``side`` takes (+1) or loses (-1) each of the ``units``."""
        values = self.values[units]  # (M, F)
        return ((2 * sign * (counts[side] - self.wanted[side]) + values) * values) @ self.weight[side]


def balance(table: Table, sides: np.ndarray) -> np.ndarray:
    """Fill empty sides, then move single units while a move pays; returns new sides (U,)."""
    sides = sides.copy()
    for _ in range(MAX_MOVES):
        counts = table.counts(sides)
        images = np.bincount(sides, minlength=len(table.wanted))
        empty = np.flatnonzero(images == 0)
        best = (np.inf, -1, -1)
        for source in np.flatnonzero(images > 1):
            units = np.flatnonzero(sides == source)
            leave = table.change(counts, source, units, -1)
            for target in empty if len(empty) else range(len(images)):
                if target != source:
                    cost = leave + table.change(counts, target, units, 1)
                    best = min(best, (float(cost.min()), int(units[cost.argmin()]), int(target)))
        if best[1] < 0 or (best[0] > -PAYS and not len(empty)):
            break
        sides[best[1]] = best[2]
    return sides


def fill(table: Table, sides: np.ndarray) -> np.ndarray:
    """Give every unit without a side (-1), in order, to an empty side or else to where the cost falls most."""
    sides = sides.copy()
    counts = table.counts(sides)
    for unit in np.flatnonzero(sides < 0):
        at = np.array([unit])
        costs = [float(table.change(counts, side, at, 1)[0]) for side in range(len(counts))]
        taken = [bool(counts[side].any()) for side in range(len(counts))]
        sides[unit] = min(range(len(counts)), key=lambda side: (taken[side], costs[side]))
        counts[sides[unit]] += table.values[unit]
    return sides
