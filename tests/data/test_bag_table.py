"""Tables of bags: medkit's, CLAM's and DSMIL's; every fault is named, all at once."""

import csv
from pathlib import Path

import numpy as np
import pytest

from medkit.data import bag_rows
from medkit.data.bag_split import divide_cases
from medkit.data.bag_table import choose_bags, read_bag_table
from medkit.errors import ConfigError, DatasetError
from tests.bag_set import write_bags, write_table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_bags(tmp_path, cases=8)


def rows_of(root: Path) -> list[dict]:
    with (root / "bags.csv").open() as file:
        return list(csv.DictReader(file))


def changed(root: Path, *, drop: tuple[str, ...] = (), **change: dict) -> None:
    """Write bags.csv again: ``change`` is column -> {row: value}."""
    rows = rows_of(root)
    for column, values in change.items():
        for number, value in values.items():
            rows[number][column] = value
    write_table(root / "bags.csv", [{k: v for k, v in row.items() if k not in drop} for row in rows])


def test_table(root: Path) -> None:
    table = read_bag_table(root)
    assert str(table) == "16 bags of 8 cases (8 class0, 8 class1)" and table.classes == ("class0", "class1")
    assert table.ids[2] == "slide-001-0" and table.cases[2] == "case-001" and table.labels[2] == 1
    assert table.files[2] == str(root / "features/slide-001-0.h5")
    assert read_bag_table(root, classes=("class1", "class0")).labels[2] == 0
    part = table.take([2, 0])
    assert part.ids.tolist() == ["slide-001-0", "slide-000-0"] and part.files == (table.files[2], table.files[0])


def test_numbers_sort_as_numbers_and_a_slide_is_a_case(root: Path) -> None:
    changed(root, drop=("case_id", "split"), label={n: str(n % 2 * 10 + 2) for n in range(16)})
    table = read_bag_table(root)
    assert table.classes == ("2", "12") and table.cases.tolist() == table.ids.tolist()


def test_clam_splits(root: Path) -> None:
    """Its own columns, an index before them, slides that it leaves out; features in h5_files, or pt_files beside."""
    (root / "features").rename(root / "h5_files")
    (root / "pt_files").mkdir()
    (root / "pt_files/slide-000-0.pt").touch()
    changed(root, drop=("split",))
    (root / "splits_0.csv").write_text(",train,val,test\n0,slide-000-0,slide-002-0,\n1,slide-001-1,,slide-003-0\n")
    table = read_bag_table(root, split_file="splits_0.csv")
    found = {split: table.ids[table.splits == split].tolist() for split in ("train", "val", "test")}
    assert found == {"train": ["slide-000-0", "slide-001-1"], "val": ["slide-002-0"], "test": ["slide-003-0"]}
    assert table.files[0].endswith("h5_files/slide-000-0.h5") and len(choose_bags(table, "train")) == 2


def test_dsmil_index(root: Path) -> None:
    rows = [{"0": f"features/{row['slide_id']}.h5", "label": row["label"]} for row in rows_of(root)]
    write_table(root / "set.csv", rows)
    table = read_bag_table(root, table="set.csv")
    assert table.ids[3] == "slide-001-1" and table.labels[3] == 1 and len(table) == 16


FAULTS = {
    "two rows": (dict(slide_id={1: "slide-000-0"}), r"two rows of the slide 'slide-000-0'"),
    "no label": (dict(label={3: ""}), r"no label for the slide 'slide-001-1'"),
    "absent": (dict(slide_id={3: "zz"}), r"features has no features of the slide 'zz'.*\n.*of the slide 'slide-001-1'"),
    "torn": (dict(split={0: "test"}), r"more than one split for the case 'case-000 \(test, train\)'"),
    "split": (dict(split={0: "tain", 1: "tain"}), r"has the split 'tain': one of train, val, test"),
    "bare": (dict(split={0: "", 1: ""}), r"no split for the slide 'slide-000-0' \(and 1 more\)"),
    "nameless": (dict(slide_id={2: ""}), r"no slide_id in 'line 4'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(root: Path, name: str) -> None:
    change, said = FAULTS[name]
    changed(root, **change)
    with pytest.raises(DatasetError, match=said):
        read_bag_table(root)


def test_all_faults_at_once(root: Path) -> None:
    changed(root, **{key: value for name in ("no label", "torn", "split") for key, value in FAULTS[name][0].items()})
    (root / "features/slide-003-0.npz").touch()
    with pytest.raises(DatasetError) as error:
        read_bag_table(root, classes=("class0", "tumour"))
    for said in ("no label", "has the split 'tain'", "two files of the slide 'slide-003-0", "'tumour'", "'class1'"):
        assert said in str(error.value)


def test_incomplete_sets_may_be_cut(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(bag_rows, "print_log", lambda text, **_: said.append(text))
    changed(root, slide_id={3: "zz"}, label={5: ""})
    table = read_bag_table(root, incomplete="drop")
    assert len(table) == 14 and not {"zz", "slide-001-1", "slide-002-1"} & set(table.ids)
    assert len(said) == 1 and "left out: 1 slides without features and 2 without a label" in said[0]
    with pytest.raises(ConfigError, match="incomplete='cut'"):
        read_bag_table(root, incomplete="cut")


def test_a_named_file_settles_which_of_two(root: Path) -> None:
    rows = [{**row, "file": f"features/{row['slide_id']}.h5"} for row in rows_of(root)]
    write_table(root / "bags.csv", rows)
    (root / "features/slide-003-0.npz").touch()
    assert read_bag_table(root).files[6].endswith("slide-003-0.h5")
    rows[6]["file"] = rows[7]["file"]
    write_table(root / "bags.csv", rows)
    with pytest.raises(DatasetError, match=r"two slides have the file .*slide-003-1\.h5"):
        read_bag_table(root)


def test_faults_of_a_split_file(root: Path) -> None:
    (root / "s.csv").write_text("train,val,test\nslide-000-0,slide-000-0,zz\nslide-001-0,slide-001-1,\n")
    with pytest.raises(DatasetError) as error:
        read_bag_table(root, split_file="s.csv")
    for said in ("'slide-000-0 (train, val)'", "no row for the slide 'zz'", "the case 'case-001 (train, val)'"):
        assert said in str(error.value)


def test_tables_that_are_none(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"other\.csv does not exist"):
        read_bag_table(root, table="other.csv")
    (root / "bags.csv").write_text("name,label\na,b\n")  # an index of DSMIL's
    with pytest.raises(DatasetError, match="has no features of the slide 'a'"):
        read_bag_table(root)
    (root / "bags.csv").write_text("name,class,split\na,b,c\n")
    with pytest.raises(DatasetError, match=r"no column \['slide_id', 'label'\]"):
        read_bag_table(root)


def test_division_by_case(root: Path) -> None:
    """Whole patients, each class in its share, the same for the same seed."""
    label_of = {f"case-{number}": int(number >= 30) for number in range(50)}
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    found = divide_cases(label_of, shares, 0, ("a", "b"))
    counts = {
        split: [sum(found[c] == split and label_of[c] == label for c in found) for label in (0, 1)] for split in shares
    }
    assert counts == {"train": [18, 12], "val": [6, 4], "test": [6, 4]}
    assert divide_cases(label_of, shares, 0, ("a", "b")) == found != divide_cases(label_of, shares, 1, ("a", "b"))
    assert set(divide_cases(label_of, shares | {"train": 0.8, "val": 0}, 0, ("a", "b")).values()) == {"train", "test"}
    changed(root, drop=("split",))
    table = read_bag_table(root, fractions=(0.5, 0.25, 0.25))
    for case in set(table.cases):
        assert len(set(table.splits[table.cases == case])) == 1
    assert [(table.splits == split).sum() for split in shares] == [8, 4, 4]


def test_divisions_that_cannot_be() -> None:
    label_of = {"a": 0, "b": 0, "c": 0, "d": 1}
    with pytest.raises(DatasetError, match=r"too few cases to divide of the class 'tumour \(1\)'"):
        divide_cases(label_of, {"train": 0.6, "val": 0.2, "test": 0.2}, 0, ("normal", "tumour"))
    for shares in ({"train": 0.5, "val": 0.1, "test": 0.1}, {"train": 1.2, "test": -0.2}, {"val": 0.5, "test": 0.5}):
        with pytest.raises(ConfigError, match="add up to 1"):
            divide_cases(label_of, shares, 0, ("normal", "tumour"))


def test_chosen(root: Path) -> None:
    table = read_bag_table(root)
    assert set(choose_bags(table, "val", num_classes=2).splits) == {"val"}
    assert choose_bags(table, "train", cases=["case-006"]).ids.tolist() == ["slide-006-0", "slide-006-1"]
    assert choose_bags(table, indices=3).labels.tolist() == [0, 1, 0]
    assert len(set(choose_bags(table, indices=16).ids)) == 16
    with pytest.raises(DatasetError, match="no bag of the case 'x'"):
        choose_bags(table, cases=["case-000", "x"])
    with pytest.raises(ConfigError, match="split='dev'"):
        choose_bags(table, "dev")
    with pytest.raises(DatasetError, match=r"num_classes=2"):
        choose_bags(table, num_classes=3)
    with pytest.raises(DatasetError, match="is of the class 'class1'"):
        choose_bags(table.take(np.flatnonzero(table.labels == 0)), "train", num_classes=2)
    with pytest.raises(DatasetError, match="no bag of split 'val'; it has test, train"):
        choose_bags(table.take(np.flatnonzero(table.splits != "val")), "val")
