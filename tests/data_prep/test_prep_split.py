import csv
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from data_prep.balance import Table, balance, fill
from data_prep.errors import EmptyResultError, OptionError
from data_prep.options import Options
from data_prep.pipeline import prepare
from data_prep.records import Lesion, Record
from data_prep.split import SIDES, assign_splits, check_fractions, check_no_leak, cut, leaks, link_units

from .conftest import sector

CLASSES = ("cyst", "HCC", "hemangioma", "metastasis", "normal")


def make(seed: int, patients: int, first: int = 0, linked: bool = True) -> list[Record]:
    rng = np.random.default_rng(seed)
    records = []
    for patient in range(first, first + patients):
        name = str(rng.choice(CLASSES, p=[0.4, 0.15, 0.3, 0.1, 0.05]))
        for frame in range(rng.integers(1, 6)):
            lesions = [] if name == "normal" else [Lesion((0, 0, 9, 9), name)] * int(rng.integers(1, 4))
            file = f"{patient:05}_{frame}.png"
            records.append(Record(file, Path(file), f"p{patient}", diagnosis=name, lesions=lesions))
    for record in records if linked else ():  # now and then two patients share a duplicate group
        record.group = int(rng.integers(0, len(records) * 3))
    return records


def sides(records) -> dict[str, str]:
    return {record.patient_id: record.split for record in records}


@pytest.mark.parametrize("folds", [0, 4])
@pytest.mark.parametrize("seed", range(8))
def test_no_patient_and_no_duplicate_group_stands_on_two_sides(seed, folds):
    records = make(seed, 60)
    assign_splits(records, Options(seed=seed, folds=folds))
    check_no_leak(records)
    assert leaks(records) == 0
    for key in ("patient_id", "group"):
        found: dict = {}
        for record in records:
            assert found.setdefault(getattr(record, key), record.split) == record.split


def test_shares_diagnoses_and_lesions_per_image_are_near_the_wish():
    records = make(3, 400)
    assign_splits(records)
    chosen = {name: [r for r in records if r.diagnosis == name] for name in CLASSES}
    chosen |= {str(n): [r for r in records if len(r.lesions) == n] for n in range(4)}
    for name, own in {"all": records, **chosen}.items():
        counts = Counter(record.split for record in own)
        for side, share in zip(SIDES, (0.8, 0.1, 0.1), strict=True):
            assert counts[side] / len(own) == pytest.approx(share, abs=0.01 if name == "all" else 0.04), (name, side)


def test_folds_are_even():
    records = make(3, 300)
    assign_splits(records, Options(folds=5))
    counts = Counter(record.split for record in records)
    assert sorted(counts) == [f"fold{number}" for number in range(5)]
    assert all(count / len(records) == pytest.approx(0.2, abs=0.02) for count in counts.values())


def test_the_seed_decides_and_nothing_else():
    first, again, other = make(1, 80), make(1, 80), make(1, 80)
    random.Random(0).shuffle(again)
    assign_splits(first, Options(seed=5))
    assign_splits(again, Options(seed=5))
    assign_splits(other, Options(seed=6))
    assert sides(first) == sides(again) != sides(other)


def greedy(records) -> None:
    """The rule that is compared: units in random order, largest first, each to the side that needs it most."""
    units = sorted(link_units(records), key=lambda unit: unit[0].patient_id)
    random.Random(0).shuffle(units)
    units.sort(key=len, reverse=True)
    table = Table([Counter(images=len(u)) + Counter(r.diagnosis for r in u) for u in units], (0.8, 0.1, 0.1))
    for unit, side in zip(units, fill(table, np.full(len(units), -1)), strict=True):
        for record in unit:
            record.split = SIDES[side]


def share_moved(seed: int, patients: int, rule) -> float:
    """Share of the old patients that change side when one in twenty is added."""
    old = make(seed, patients, linked=False)
    new = make(seed, patients, linked=False) + make(100 + seed, patients // 20, patients, linked=False)
    random.Random(seed).shuffle(new)
    rule(old)
    rule(new)
    before, after = sides(old), sides(new)
    return float(np.mean([before[patient] != after[patient] for patient in before]))


@pytest.mark.parametrize(("patients", "most"), [(200, 0.08), (1000, 0.03)])
def test_few_patients_move_when_one_in_twenty_is_added(patients, most):
    """Redrawing by chance moves 1 - (0.8^2 + 0.1^2 + 0.1^2) = 34 %."""
    moved = np.mean([share_moved(seed, patients, assign_splits) for seed in range(4)])
    other = np.mean([share_moved(seed, patients, greedy) for seed in range(4)])
    print(f"{patients} patients, {patients // 20} added: {moved:.1%} of the old ones change side, greedily {other:.1%}")
    assert moved <= most < 0.2 < other


def write_report(folder: Path, records) -> Path:
    folder.mkdir()
    with (folder / "report.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["file", "patient_id", "split"])
        writer.writerows([record.file, record.patient_id, record.split] for record in records)
    return folder


@pytest.mark.parametrize("folds", [0, 3])
def test_split_from_keeps_every_known_patient_and_spreads_the_new_ones(tmp_path, folds):
    old, new = make(0, 100, linked=False), make(0, 100, linked=False) + make(7, 50, 100, linked=False)
    assign_splits(old, Options(seed=1, folds=folds))
    folder = write_report(tmp_path / "old", old)
    assign_splits(new, Options(seed=2, folds=folds, split_from=folder))
    before, after = sides(old), sides(new)
    assert {patient: after[patient] for patient in before} == before
    counts = Counter(record.split for record in new)
    wanted = 1 / folds if folds else 0.1
    assert counts["fold0" if folds else "val"] / len(new) == pytest.approx(wanted, abs=0.02)
    assert len({after[patient] for patient in after.keys() - before.keys()}) == (folds or 3)


def test_split_from_drops_what_links_two_old_sides(tmp_path):
    old = make(0, 40, linked=False)
    assign_splits(old)
    folder = write_report(tmp_path / "old", old)
    a, b = (next(r for r in old if r.split == side) for side in ("train", "test"))
    new = make(0, 40, linked=False)
    bridge = Record("new.png", Path("new.png"), "new", diagnosis="cyst")
    for record in (bridge, *(r for r in new if r.file in (a.file, b.file))):
        record.group = 5
    new.append(bridge)
    assign_splits(new, Options(split_from=folder))
    assert (bridge.stage, bridge.reason) == ("split", "between_old_sides") and "train and test" in bridge.detail
    assert sides(old) == {p: s for p, s in sides(new).items() if p != "new"}


def test_split_from_something_else_is_an_error(tmp_path):
    old = make(0, 40)
    assign_splits(old)
    folder = write_report(tmp_path / "old", old)
    with pytest.raises(OptionError, match=r"no readable report\.csv"):
        assign_splits(make(0, 40), Options(split_from=tmp_path))
    with pytest.raises(OptionError, match=r"has a side .*, wanted are fold0, fold1"):
        assign_splits(make(0, 40), Options(split_from=folder, folds=2))
    with pytest.raises(OptionError, match="--leaky-random with --split-from"):
        assign_splits(make(0, 40), Options(split_from=folder, leaky_random=True))
    old[0].patient_id, old[-1].patient_id, old[0].split, old[-1].split = "x", "x", "val", "test"
    with pytest.raises(OptionError, match="patient x stands on two sides"):
        assign_splits(make(0, 40), Options(split_from=write_report(tmp_path / "leaky", old)))


def test_a_wrong_split_from_is_found_before_anything_is_read(tmp_path):
    with pytest.raises(OptionError, match="no readable report"):
        prepare(tmp_path / "nowhere", tmp_path / "out", Options(split_from=tmp_path))


def test_the_leaky_split_leaks():
    records = make(2, 60)
    assign_splits(records, Options(leaky_random=True))
    assert leaks(records) > 5
    with pytest.raises(AssertionError, match="two sides"):
        check_no_leak(records)


@pytest.mark.parametrize("seed", range(30))
def test_three_units_fill_three_sides(seed):
    for count in (3, 4, 7):
        records = [Record(f"{i}.png", Path("x"), f"p{i % count}", diagnosis="cyst") for i in range(12)]
        assign_splits(records, Options(seed=seed))
        assert {record.split for record in records} == set(SIDES)


def test_an_empty_side_is_an_error():
    with pytest.raises(EmptyResultError, match=r"no image is left for (val|test).*2 independent units"):
        assign_splits([Record(f"{i}.png", Path("x"), f"p{i % 2}") for i in range(10)])


def test_a_giant_patient_does_not_empty_the_rest():
    records = [Record(f"{i}.png", Path("x"), "giant" if i < 900 else f"p{i}", diagnosis="cyst") for i in range(1000)]
    assign_splits(records)
    counts = Counter(record.split for record in records)
    assert counts["train"] >= 900 and counts["val"] >= 20 and counts["test"] >= 20


def test_balance_lowers_the_cost_and_keeps_every_unit():
    rng = np.random.default_rng(0)
    features = [Counter({"images": int(rng.integers(1, 9)), f"d{rng.integers(3)}": 1}) for _ in range(50)]
    table, start = Table(features, (0.8, 0.1, 0.1)), np.zeros(50, np.int64)

    def cost(sides):
        return (((table.counts(sides) - table.wanted) ** 2) * table.weight).sum()

    end = balance(table, start)
    assert cost(end) < 0.1 * cost(start) and set(end) == {0, 1, 2} and (start == 0).all()


def test_the_cut_stays_within_the_slack_of_the_shares():
    rng = np.random.default_rng(1)
    places, sizes = rng.random(500), rng.integers(1, 5, 500)
    found = cut(places, sizes, (0.8, 0.1, 0.1), slack=0.01)
    shares = np.array([sizes[found == side].sum() for side in range(3)]) / sizes.sum()
    assert np.abs(np.cumsum(shares)[:2] - (0.8, 0.9)).max() <= 0.01
    assert places[found == 0].max() < places[found == 1].min() < places[found == 2].min()


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.2), (0.8, 0.2, 0.0), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"),) * 3]
)
def test_fractions_that_make_no_sense(fractions):
    with pytest.raises(OptionError, match="three positive fractions"):
        check_fractions(fractions)


def test_one_fold_is_an_error():
    with pytest.raises(OptionError, match="--folds 1: expected at least 2"):
        assign_splits(make(0, 9), Options(folds=1))


@pytest.mark.slow
def test_fewer_still_move_in_a_large_set():
    test_few_patients_move_when_one_in_twenty_is_added(8000, 0.01)


def test_a_dropped_duplicate_still_links_its_patients():
    records = make(0, 30, linked=False)
    a, b = records[0], next(r for r in records if r.patient_id == "p7")
    assign_splits(records, Options(seed=11))
    assert a.split != b.split
    dropped = Record("copy.png", Path("copy.png"), a.patient_id, diagnosis="cyst", group=3)
    dropped.drop("duplicates", "near_duplicate", partner=b.file)
    b.group = 3
    assign_splits([*records, dropped], Options(seed=11))
    assert a.split == b.split and not dropped.split


def test_no_patient_and_no_duplicate_pair_of_a_run_stands_on_two_sides(tiny, tmp_path, report_of):
    tiny.fill(15, 3)
    tiny.add("near.png", np.roll(sector(1000), 3, axis=1), patient_id="P7")
    prepare(tiny.save(), tmp_path / "out", Options(quiet=True))
    rows = report_of(tmp_path / "out")
    with (tmp_path / "out" / "duplicate_pairs.csv").open() as handle:
        pairs = list(csv.DictReader(handle))
    assert any({pair["a"], pair["b"]} == {"near.png", "good00_0.jpg"} for pair in pairs)
    sides_of = defaultdict(set)
    for row in rows.values():
        sides_of[row["patient_id"]].add(row["split"])
    assert all(len(found - {""}) == 1 for found in sides_of.values())
    assert sides_of["P0"] - {""} == sides_of["P7"] - {""}
