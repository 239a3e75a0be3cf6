"""Graded sets: both kinds are read, and what cannot be learned from or judged by is named."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.data.graded import UNKNOWN, read_graded
from medkit.data.graded_images import GradedImages, resize, ssit_augmentation
from medkit.errors import DatasetError
from tests.graded import write_graded
from tests.prepared import LIVER, write_prepared


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_graded(tmp_path / "set", size=32, saliency=False)


def change(root: Path, edit) -> None:
    """Rewrite labels.csv with ``edit(rows)``, rows being dictionaries."""
    table = root / "labels.csv"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    rows = edit(rows) or rows
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_reads_labels_csv(root: Path) -> None:
    change(root, lambda rows: rows[0].update(label=""))
    found = read_graded(root)
    assert len(found.files) == 24 and found.classes == ("0", "1", "2", "3", "4") and found.ordinal
    assert found.labels[0] == UNKNOWN and found.num_unlabelled == 1
    rows = {split: found.rows(split) for split in ("train", "val", "test")}
    assert [len(r) for r in rows.values()] == [11, 6, 6], "the unknown one is in no split's rows"
    assert found.labels[rows["train"]].tolist() == [i % 5 for i in range(1, 12)]
    assert not set(found.patients[rows["train"]]) & set(found.patients[rows["test"]])
    assert "1 without a label" in str(found)


def test_reads_a_prepared_set(tmp_path: Path) -> None:
    found = read_graded(write_prepared(tmp_path, num_images=6))
    assert found.classes == tuple(sorted(LIVER)) and not found.ordinal
    assert [len(found.rows(split)) for split in ("train", "val", "test")] == [6, 6, 6]
    first = Path(found.files[0]).stem.split("_")[1]
    assert found.classes[found.labels[0]] == LIVER[int(first) % 4] and found.patients[0] == f"train{first}"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: [r for r in rows if r["split"] != "val"], "no labelled image in .*val"),
        (lambda rows: rows[0].update(split="test"), r"p000, in test and train"),
        (lambda rows: [r | {"label": "3"} for r in rows], "are of one class"),
        (lambda rows: [r | {"label": ""} for r in rows], "no image of .* has a label"),
        (lambda rows: rows[0].update(label="mild"), "'mild' is no grade"),
        (lambda rows: rows[0].update(label="-1"), "'-1' is no grade"),
        (lambda rows: rows[0].update(split="training"), "split 'training'"),
        (lambda rows: rows[0].update(image="gone.jpg"), r"gone\.jpg.*does not exist"),
        (lambda rows: rows.append(dict(rows[0])), "listed twice"),
        (lambda rows: [dict(image=r["image"], label=1) for r in rows], r"lacks the columns \['patient', 'split'\]"),
    ],
)
def test_faults_are_named(root: Path, edit, message: str) -> None:
    change(root, edit)
    with pytest.raises(DatasetError, match=message):
        read_graded(root)


def test_neither_kind_of_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither labels\.csv"):
        read_graded(tmp_path)
    root = write_prepared(tmp_path / "set")
    (root / "annotations" / "val.json").unlink()
    with pytest.raises(DatasetError, match=r"val\.json does not exist"):
        read_graded(root)


def test_images_are_rgb_in_the_size_asked_for(root: Path) -> None:
    found = read_graded(root)
    image, label = GradedImages(found.files, found.labels, resize(48))[3]
    assert image.shape == (3, 48, 48) and image.dtype == torch.float32 and label == 3
    assert image[0].mean() > image[2].mean() + 10, "the discs are red-brown: red is the first channel"
    torch.manual_seed(0)
    views = [GradedImages(found.files, found.labels, ssit_augmentation(48))[3][0] for _ in range(2)]
    assert views[0].shape == (3, 48, 48) and not torch.equal(*views)
    assert min(v.min() for v in views) >= 0 and max(v.max() for v in views) <= 255


def test_an_unreadable_image_is_named(root: Path) -> None:
    found = read_graded(root)
    Path(found.files[5]).write_bytes(b"no image")
    with pytest.raises(DatasetError, match=Path(found.files[5]).name):
        GradedImages(found.files, found.labels, resize(32))[5]
    assert np.isfinite(GradedImages(found.files, found.labels, resize(32))[4][0].numpy()).all()
