from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import EmptyResultError, OptionError
from data_prep.options import Options
from data_prep.records import Lesion, Record
from data_prep.split import SIDES, assign_splits, check_fractions, check_no_leak, leaks

CLASSES = ("cyst", "HCC", "hemangioma", "metastasis", "normal")


def make(seed: int, patients: int) -> list[Record]:
    rng = np.random.default_rng(seed)
    records = []
    for patient in range(patients):
        name = str(rng.choice(CLASSES, p=[0.4, 0.15, 0.3, 0.1, 0.05]))
        for _ in range(rng.integers(1, 6)):
            lesions = [] if name == "normal" else [Lesion((0, 0, 9, 9), name)] * int(rng.integers(1, 4))
            file = f"{len(records)}.png"
            records.append(Record(file, Path(file), f"p{patient}", diagnosis=name, lesions=lesions))
    for record in records:  # now and then two patients share a duplicate group
        record.group = int(rng.integers(0, len(records) * 3))
    return records


@pytest.mark.parametrize("seed", range(15))
def test_no_patient_and_no_duplicate_group_stands_on_two_sides(seed):
    records = make(seed, 60)
    assign_splits(records, Options(seed=seed))
    check_no_leak(records)
    assert leaks(records) == 0
    for key in ("patient_id", "group"):
        sides: dict = {}
        for record in records:
            assert sides.setdefault(getattr(record, key), record.split) == record.split


def test_shares_and_diagnoses_are_near_the_wish():
    records = make(3, 400)
    assign_splits(records)
    for name in (*CLASSES, None):
        own = [record for record in records if name in (None, record.diagnosis)]
        counts = Counter(record.split for record in own)
        for side, share in zip(SIDES, (0.8, 0.1, 0.1), strict=True):
            assert counts[side] / len(own) == pytest.approx(share, abs=0.04), (name, side)


def test_the_seed_decides_and_nothing_else():
    first, again, other = make(1, 80), make(1, 80), make(1, 80)
    assign_splits(first, Options(seed=5))
    assign_splits(again, Options(seed=5))
    assign_splits(other, Options(seed=6))
    sides = [[record.split for record in records] for records in (first, again, other)]
    assert sides[0] == sides[1] != sides[2]


def test_the_leaky_split_leaks():
    records = make(2, 60)
    assign_splits(records, Options(leaky_random=True))
    assert leaks(records) > 5
    with pytest.raises(AssertionError, match="two sides"):
        check_no_leak(records)


def test_an_empty_side_is_an_error():
    with pytest.raises(EmptyResultError, match=r"no image is left for (val|test).*2 independent units"):
        assign_splits([Record(f"{i}.png", Path("x"), f"p{i % 2}") for i in range(10)])


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.2), (0.8, 0.2, 0.0), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"),) * 3]
)
def test_fractions_that_make_no_sense(fractions):
    with pytest.raises(OptionError, match="three positive fractions"):
        check_fractions(fractions)
