"""Train, validation and test sides, or folds: by patient and duplicate group together, stratified, stable.

A unit is everything that hangs together by patient or duplicate group. Its place in [0, 1) is a hash of the seed
and of its smallest patient id, so it does not depend on the other units. Within a stratum (diagnosis, lesions per
image) the units are ordered by place, and the order is cut where the wanted shares of images end; a cut may lie
anywhere within `SLACK` of its share, and the spot nearest to the share's own place is taken, so that added images
move the units at a cut and no others. What small strata leave unbalanced is repaired by moving single units
(`balance`). Stratified by group, as scikit-learn's StratifiedGroupKFold, which has no such stability.

Commands: ``python -m data_prep EXPORT OUT [--folds K | --split-from OLD_OUT]``, ``python -m data_prep split``.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from .balance import Table, balance, fill
from .dedup import group_numbers
from .errors import EmptyResultError, OptionError
from .options import Options
from .records import Record
from .split_from import OldSides, read_old_sides, settle

SIDES = ("train", "val", "test")
SLACK = 0.01


def check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """Three positive fractions that sum to one.

    Raises:
        OptionError: any other number of values, a value that is not positive, another sum.
    """
    if len(fractions) != 3 or not all(value > 0 for value in fractions) or abs(sum(fractions) - 1) > 1e-6:
        given = ",".join(f"{value:g}" for value in fractions)
        raise OptionError(f"--split {given}: expected three positive fractions with sum 1, as in 0.8,0.1,0.1")
    return tuple(fractions)


def wanted_shares(options: Options) -> dict[str, float]:
    """Names of the sides, in order, and the share of the images that each should get.

    Raises:
        OptionError: shares, a number of folds or a combination that makes no sense.
    """
    if options.leaky_random and options.split_from:
        raise OptionError("--leaky-random with --split-from: a split by image cannot keep patients where they were")
    if not options.folds:
        return dict(zip(SIDES, check_fractions(options.split), strict=True))
    if options.folds < 2:
        raise OptionError(f"--folds {options.folds}: expected at least 2, or 0 for {', '.join(SIDES)}")
    return {f"fold{number}": 1 / options.folds for number in range(options.folds)}


def check_split(options: Options) -> None:
    """Raise what `assign_splits` would find wrong with the options, before hours of other work.

    Raises:
        OptionError: options that do not fit, or an earlier output that cannot be read.
    """
    wanted = wanted_shares(options)
    if options.split_from:
        read_old_sides(options.split_from, tuple(wanted))


def assign_splits(records: Sequence[Record], options: Options | None = None) -> None:
    """Set `Record.split` of the kept records, in place; the same input and options give the same sides.

    Frames that were dropped as duplicates get no side, but the patients that they link stay together. With
    ``options.split_from`` a record may be dropped: see `split_from.settle`.

    Raises:
        EmptyResultError: a side stays empty.
        OptionError: options that do not fit.
    """
    options = options or Options()
    wanted = wanted_shares(options)
    kept = [record for record in records if record.kept]
    units = [[record] for record in kept] if options.leaky_random else _kept_units(records)
    old = read_old_sides(options.split_from, tuple(wanted)) if options.split_from else OldSides()
    units.sort(key=lambda unit: (place_of(unit, options), min(record.file for record in unit)))
    units, fixed = settle(units, old, list(wanted))
    if len(units) < len(wanted):
        _refuse(units, list(wanted)[len(units)])
    sides = _sides(units, fixed, list(wanted.values()), options)
    for unit, side in zip(units, sides.tolist(), strict=True):
        for record in unit:
            record.split = list(wanted)[side]
    for number, name in enumerate(wanted):
        if not (sides == number).any():
            _refuse(units, name)
    if not options.leaky_random:
        check_no_leak(kept, old.torn)


def _kept_units(records: Sequence[Record]) -> list[list[Record]]:
    linked = link_units([record for record in records if record.kept or record.stage == "duplicates"])
    units = [[record for record in unit if record.kept] for unit in linked]
    return [unit for unit in units if unit]


def _sides(units: Sequence[Sequence[Record]], fixed: np.ndarray, shares: list[float], options: Options) -> np.ndarray:
    """Number of the side of every unit, (U,) int; ``fixed`` holds the given ones, -1 where a side is to be chosen."""
    table = Table([_features(unit) for unit in units], shares)
    places = np.array([place_of(unit, options) for unit in units])
    if (fixed >= 0).any():
        return fill(table, fixed)
    sides = np.zeros(len(units), np.int64)
    strata: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for index, unit in enumerate(units):
        strata[stratum_of(unit)].append(index)
    for members in strata.values():
        own = np.array(members)
        sizes = np.array([len(units[index]) for index in members])
        sides[own] = cut(places[own], sizes, shares)
    return balance(table, sides)


def place_of(unit: Sequence[Record], options: Options) -> float:
    """The unit's own place in [0, 1): a hash of the seed and its smallest patient id (of its file, split by image)."""
    leaky = options.leaky_random
    key = min(record.file if leaky or not record.patient_id else record.patient_id for record in unit)
    digest = hashlib.blake2b(f"{options.seed}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def cut(places: np.ndarray, sizes: np.ndarray, shares: Sequence[float], slack: float = SLACK) -> np.ndarray:
    """Sides (U,) of units with ``places`` in [0, 1) and ``sizes`` in images: their order, cut at the shares."""
    order = np.argsort(places, kind="stable")
    reached = np.concatenate([[0.0], np.cumsum(sizes[order]) / sizes.sum()])  # share of images before each spot
    sides, last = np.zeros(len(places), np.int64), 0
    for side, share in enumerate(np.cumsum(shares)[:-1], start=1):
        low = min(np.searchsorted(reached, share + 1e-9, "right") - 1, np.searchsorted(reached, share - slack))
        high = max(np.searchsorted(reached, share - 1e-9), np.searchsorted(reached, share + slack, "right") - 1)
        spot = int(np.clip(np.searchsorted(places[order], share), low, high))
        last = max(last, spot)
        sides[order[last:]] = side
    return sides


def stratum_of(unit: Sequence[Record]) -> tuple[str, int]:
    """Commonest diagnosis of the unit, and its lesions per image, rounded up and at most 3."""
    diagnoses = Counter(record.diagnosis for record in unit)
    name = min(diagnoses, key=lambda name: (-diagnoses[name], name))
    return name, min(3, -(-sum(len(record.lesions) for record in unit) // len(unit)))


def link_units(records: Sequence[Record]) -> list[list[Record]]:
    """Sets of records that must stay together because they share a patient or a duplicate group."""
    first: dict[tuple[str, str | int], int] = {}
    links = []
    for index, record in enumerate(records):
        for key in _keys(record):
            links.append((first.setdefault(key, index), index))
    units: dict[int, list[Record]] = {}
    for number, record in zip(group_numbers(len(records), links), records, strict=True):
        units.setdefault(number, []).append(record)
    return list(units.values())


def check_no_leak(records: Sequence[Record], torn: frozenset[str] = frozenset()) -> None:
    """Assert that no patient and no duplicate group stands on two sides.

    ``torn`` are files whose groups an earlier split, which had to be kept, has torn apart: none of them is a
    near-duplicate of another, frames that were dropped linked them.
    """
    found = _on_two_sides([record for record in records if record.kept], torn)
    if found:  # no assert: it must hold under python -O too
        raise AssertionError(f"{found[0]} stands on two sides of the split")


def leaks(records: Sequence[Record]) -> int:
    """Number of patients and duplicate groups that stand on more than one side."""
    return len(_on_two_sides(records))


def _on_two_sides(records: Sequence[Record], torn: frozenset[str] = frozenset()) -> list[tuple[str, str | int]]:
    sides: defaultdict[tuple[str, str | int], set[str]] = defaultdict(set)
    for record in records:
        for key in _keys(record):
            if not (key[0] == "group" and record.file in torn):
                sides[key].add(record.split)
    return [key for key, found in sides.items() if len(found) > 1]


def _keys(record: Record) -> list[tuple[str, str | int]]:
    keys: list[tuple[str, str | int]] = [("group", record.group)] if record.group >= 0 else []
    return [*keys, ("patient", record.patient_id)] if record.patient_id else keys


def _features(unit: Sequence[Record]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for record in unit:
        counts["images"] += 1
        counts[f"diagnosis {record.diagnosis}"] += 1
        counts[f"with {min(3, len(record.lesions))} lesions"] += 1
        counts.update(f"lesion {lesion.label}" for lesion in record.lesions)
    return counts


def _refuse(units: Sequence[Sequence[Record]], side: str) -> None:
    raise EmptyResultError(
        f"split: no image is left for {side}: {sum(map(len, units))} images make {len(units)} independent units "
        "(patients with their duplicates); give more patients, fewer --folds or another --split"
    )
