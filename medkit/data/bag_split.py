"""Division of patients into train, val and test, each class in the wanted shares; the same for the same seed.

Used by medkit/data/bag_table.py where a set comes without splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medkit.data.refusal import complaint, refuse_all
from medkit.errors import ConfigError


def divide_cases(
    label_of: Mapping[str, int], fractions: Mapping[str, float], seed: int, names: Sequence[str]
) -> dict[str, str]:
    """The split of each case.

    Args:
        label_of: class of each case, of a case with several slides the highest.
        fractions: share of each split; they add up to 1; one of 0 stays empty.
        seed: of the draw.
        names: of the classes, for messages.

    Raises:
        ConfigError: fractions that are no shares.
        DatasetError: a class has fewer cases than there are splits.
    """
    shares = {split: share for split, share in fractions.items() if share != 0}
    if not shares or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6 or "train" not in shares:
        raise ConfigError(f"fractions={dict(fractions)}; expected shares of train, val and test that add up to 1")
    rng = np.random.default_rng(seed)
    groups = {label: sorted(case for case, own in label_of.items() if own == label) for label in range(len(names))}
    few = [f"{names[label]} ({len(cases)})" for label, cases in groups.items() if len(cases) < len(shares)]
    cure = f"each of {', '.join(shares)} needs one of its cases: more slides, a fraction of 0, or a column split"
    refuse_all(complaint(few, "too few cases to divide of the class", cure))
    of_case: dict[str, str] = {}
    for cases in groups.values():
        splits = np.repeat(list(shares), _counts(len(cases), list(shares.values())))
        of_case.update(zip(cases, map(str, rng.permutation(splits)), strict=True))
    return of_case


def _counts(total: int, shares: list[float]) -> list[int]:
    """Whole numbers near the shares of ``total``, at least 1 each; the one farthest off takes what rounding leaves."""
    counts = [max(1, round(total * share)) for share in shares]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        gaps = step * (total * np.array(shares) - counts)
        gaps[np.array(counts) + step < 1] = -np.inf
        counts[int(gaps.argmax())] += step
    return counts
