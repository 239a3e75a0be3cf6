"""Train, validation and test sides: by patient and duplicate group together, stratified by diagnosis."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from .dedup import group_numbers
from .errors import EmptyResultError, OptionError
from .records import Record

SIDES = ("train", "val", "test")


def check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """Three positive fractions that sum to one.

    Raises:
        OptionError: any other number of values, a value that is not positive, another sum.
    """
    if len(fractions) != 3 or not all(value > 0 for value in fractions) or abs(sum(fractions) - 1) > 1e-6:
        given = ",".join(f"{value:g}" for value in fractions)
        raise OptionError(f"--split {given}: expected three positive fractions with sum 1, as in 0.8,0.1,0.1")
    return tuple(fractions)


def assign_splits(
    records: Sequence[Record],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    leaky: bool = False,
) -> None:
    """Set `Record.split` of the kept records, in place; the same input and seed give the same sides.

    Units (all images linked by patient or duplicate group) are taken largest first and each goes where the
    counts of images, of lesions and of images per diagnosis stay nearest to the wanted fractions.

    Raises:
        EmptyResultError: a side stays empty.
    """
    fractions = check_fractions(fractions)
    units = [[record] for record in records] if leaky else link_units(records)
    rng = random.Random(seed)
    rng.shuffle(units)
    features = [Counter(_features(unit)) for unit in units]
    if not leaky:
        order = sorted(range(len(units)), key=lambda index: -len(units[index]))
        units, features = [units[index] for index in order], [features[index] for index in order]
    totals: Counter = sum(features, Counter())
    sides: list[Counter[str]] = [Counter() for _ in SIDES]
    for place, (unit, feature) in enumerate(zip(units, features, strict=True)):
        open_sides = [number for number, side in enumerate(sides) if not side]
        if len(units) - place > len(open_sides):  # the last units go to sides that are still empty
            open_sides = list(range(len(sides)))
        best = min(open_sides, key=lambda n: _cost(sides[n], feature, totals, fractions[n]))
        sides[best] += feature
        for record in unit:
            record.split = SIDES[best]
    for name, side in zip(SIDES, sides, strict=True):
        if not side:
            raise EmptyResultError(
                f"split: no image is left for {name}: {len(records)} images make {len(units)} independent "
                "units (patients with their duplicates); give more patients or another --split"
            )
    if not leaky:
        check_no_leak(records)


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


def check_no_leak(records: Sequence[Record]) -> None:
    """Assert that no patient and no duplicate group stands on two sides."""
    side: dict[tuple[str, str | int], str] = {}
    for record in records:
        for key in _keys(record):
            assert side.setdefault(key, record.split) == record.split, f"{key} stands on two sides of the split"


def leaks(records: Sequence[Record]) -> int:
    """Number of patients and duplicate groups that stand on more than one side."""
    sides: dict[tuple[str, str | int], set[str]] = {}
    for record in records:
        for key in _keys(record):
            sides.setdefault(key, set()).add(record.split)
    return sum(len(found) > 1 for found in sides.values())


def _keys(record: Record) -> list[tuple[str, str | int]]:
    keys: list[tuple[str, str | int]] = [("group", record.group)] if record.group >= 0 else []
    return [*keys, ("patient", record.patient_id)] if record.patient_id else keys


def _features(unit: Sequence[Record]) -> dict[str, int]:
    counts: Counter = Counter()
    for record in unit:
        counts["images"] += 1
        counts[f"diagnosis {record.diagnosis}"] += 1
        counts.update(f"lesion {lesion.label}" for lesion in record.lesions)
    return counts


def _cost(side: Counter, unit: Counter, totals: Counter, share: float) -> float:
    """Change of the squared distance between a side's counts and its wanted counts when it takes the unit."""
    change = 0.0
    for name, value in unit.items():
        wanted = share * totals[name]
        change += ((side[name] + value - wanted) ** 2 - (side[name] - wanted) ** 2) / (totals[name] * wanted)
    return change
