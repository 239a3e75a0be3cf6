"""The probe keeps patients together, counts the leaks of splits that do not, and has chance and certainty right."""

from pathlib import Path

import numpy as np
import pytest

from medkit.apis.embedding_files import Embeddings, write_embeddings
from medkit.apis.slide_probe import (
    LabelledSlides,
    Side,
    budget_splits,
    fold_splits,
    label_slides,
    probe_table,
    published_splits,
    run_probe,
)
from medkit.errors import ConfigError, DatasetError


def labelled(count: int = 60, per_case: int = 2, classes: int = 2) -> LabelledSlides:
    """Patients of two slides, labels by patient."""
    case = np.arange(count) // per_case
    ids = np.array([f"s{i:03d}" for i in range(count)])
    splits = np.where(case % 3 == 0, "test", "train")
    names = tuple("abc"[:classes])
    return LabelledSlides(ids, np.array([f"p{c}" for c in case]), case % classes, splits, names)


def vectors(slides: LabelledSlides, signal: float) -> Embeddings:
    noise = np.random.default_rng(0).normal(size=(len(slides.ids), 5)).astype(np.float32)
    noise[:, : len(slides.classes)] += signal * np.eye(len(slides.classes))[slides.labels]
    return Embeddings(slides.ids, slides.cases, noise)


def test_folds_keep_patients_together_and_test_each_slide_once() -> None:
    slides = labelled()
    sides = fold_splits(slides)
    assert sorted(np.concatenate([side.test for side in sides]).tolist()) == list(range(60))
    assert all(not set(slides.cases[side.train]) & set(slides.cases[side.test]) for side in sides)


@pytest.mark.parametrize("by_split", [False, True])
def test_labelled_slides_are_of_different_patients(by_split: bool) -> None:
    slides = labelled()
    sides = list(budget_splits(slides, 6, draws=5, by_split=by_split))
    for side in sides:
        assert len(set(slides.cases[side.train])) == 6 and np.bincount(slides.labels[side.train]).tolist() == [3, 3]
        assert not set(slides.cases[side.train]) & set(slides.cases[side.test])
        if by_split:
            assert set(slides.splits[side.train]) == {"train"} and len(side.test) == (slides.splits == "test").sum()
        else:
            assert len(side.test) == 60 - 2 * 6
    assert len({tuple(side.train) for side in sides}) == 5
    again = budget_splits(slides, 6, draws=5, by_split=by_split)
    assert all(np.array_equal(a.train, b.train) for a, b in zip(sides, again, strict=True))


def test_a_rare_class_has_one_labelled_slide() -> None:
    slides = labelled(60)
    labels = (np.arange(60) // 2 % 15 == 0).astype(int)
    rare = LabelledSlides(slides.ids, slides.cases, labels, slides.splits, ("a", "b"))
    side = next(budget_splits(rare, 5, draws=1))
    assert np.bincount(rare.labels[side.train]).tolist() == [4, 1]


@pytest.mark.parametrize("classes", [2, 3])
def test_signal_and_chance(classes: int) -> None:
    slides = labelled(120, classes=classes)
    sides = fold_splits(slides)
    certain, chance = (run_probe(vectors(slides, signal), slides, sides) for signal in (20.0, 0.0))
    assert certain.auroc.tolist() == [1.0] * 5 and certain.leaked == 0 and "LEAKY" not in str(certain)
    assert abs(chance.auroc.mean() - 0.5) < 0.12


def test_published_splits_say_how_much_they_leak(tmp_path: Path) -> None:
    slides = labelled(8)
    (tmp_path / "split_0.csv").write_text("train,test\ns000,s001\ns002,s004\ns006,s005\n,s999\n")
    sides = published_splits(slides, tmp_path)
    assert sides[0].train.tolist() == [0, 2, 6] and sides[0].test.tolist() == [1, 4, 5]
    probe = run_probe(vectors(slides, 5.0), slides, sides)
    assert probe.leaked == pytest.approx(1 / 3) and "LEAKY: 33.3%" in str(probe)
    (tmp_path / "split_1.csv").write_text("train,test\nx,y\n")
    with pytest.raises(ConfigError, match=r"split_1.csv names no embedded slides"):
        published_splits(slides, tmp_path)
    with pytest.raises(ConfigError, match="holds no csv"):
        published_splits(slides, tmp_path / "nowhere")


def write_set(root: Path, slides: LabelledSlides) -> None:
    columns = slides.ids, slides.cases, slides.labels.astype(str), slides.splits
    rows = [",".join(row) for row in zip(*columns, strict=True)]
    (root / "bags.csv").write_text("slide_id,case_id,label,split\n" + "\n".join(rows) + "\n")


def test_table_compares_files(tmp_path: Path) -> None:
    slides = labelled()
    write_set(tmp_path, slides)
    for name, signal in (("good", 9.0), ("poor", 0.0)):
        write_embeddings(tmp_path / f"{name}.npz", vectors(slides, signal))
    files = [tmp_path / "good.npz", tmp_path / "poor.npz"]
    lines = probe_table(files, tmp_path, labelled=[6], draws=3).splitlines()
    assert lines[0] == "| AUROC, 60 slides | 5 folds by patient | 6 labelled |" and len(lines) == 4
    assert lines[2] == "| good | 1.000 +- 0.000 | 1.000 +- 0.000 |" and lines[3].startswith("| poor | 0.")
    with pytest.raises(DatasetError, match="expected one of each of 2 classes"):
        probe_table(files, tmp_path, labelled=[1])
    with pytest.raises(DatasetError, match="do not leave all"):
        probe_table(files, tmp_path, labelled=[30])
    write_embeddings(files[1], Embeddings(slides.ids[::-1], slides.cases, vectors(slides, 0).vectors))
    with pytest.raises(DatasetError, match=r"poor.npz is not of the slides of .*good.npz"):
        probe_table(files, tmp_path)


def test_labels_must_be_there_and_differ(tmp_path: Path) -> None:
    slides = labelled(6)
    write_set(tmp_path, slides)
    assert label_slides(tmp_path / "bags.csv", slides.ids[:4]).classes == ("0", "1")
    with pytest.raises(DatasetError, match="no label for the embedded slide 'other'"):
        label_slides(tmp_path / "bags.csv", np.array(["s000", "other"]))
    with pytest.raises(DatasetError, match="a probe needs two"):
        label_slides(tmp_path / "bags.csv", slides.ids[:2])
    assert run_probe(vectors(slides, 1), slides, [Side(np.arange(4), np.arange(2, 6))]).leaked == 0.5
