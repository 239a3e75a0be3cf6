"""Anomaly sets are read alike from a table, folders and COCO, and what would spoil a result is refused."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from medkit.data import anomaly_checks
from medkit.data.anomaly_table import ROLES, UNKNOWN, read_anomaly
from medkit.errors import DatasetError
from tests.anomaly_set import write_anomaly
from tests.prepared import write_prepared


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_anomaly(tmp_path / "set", size=32, num=8, contamination=0.25)


def change(root: Path, edit) -> None:
    """Rewrite anomaly.csv with each row (a dict, or None to leave it out) as ``edit`` gives it."""
    with (root / "anomaly.csv").open(newline="") as file:
        rows = [edited for row in csv.DictReader(file) if (edited := edit(row)) is not None]
    with (root / "anomaly.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def as_folders(root: Path, out: Path) -> Path:
    """The same set as folders: mixed/ without labels."""
    with (root / "anomaly.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            inner = {"0": "healthy", "1": "anomalous"}[row["label"]] if row["role"] in ("val", "test") else ""
            target = out / row["role"] / inner / row["image"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / "images" / row["image"], target)
            if row["mask"] and inner:
                mask = out / "masks" / row["role"] / inner / row["image"]
                mask.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / "masks" / row["mask"], mask)
    return out


def test_table(root: Path) -> None:
    found = read_anomaly(root)
    assert [len(found.rows(role)) for role in ROLES] == [8, 8, 4, 4]
    assert found.contamination == 0.25 and found.has_masks
    assert (found.labels[found.rows("healthy")] == 0).all()
    assert "mixed 8 images of 4 patients (6 healthy, 2 anomalous)" in str(found)


def test_labels_may_be_words_and_unknown_in_mixed(root: Path) -> None:
    words = {"0": "Healthy", "1": "anomalous"}
    change(root, lambda row: row | {"label": "" if row["role"] == "mixed" else words[row["label"]]})
    found = read_anomaly(root)
    assert found.contamination is None and (found.labels[found.rows("mixed")] == UNKNOWN).all()
    assert found.labels[found.rows("test")].tolist() == [1, 1, 0, 0]


def test_folders_hold_the_same(root: Path, tmp_path: Path) -> None:
    table, folders = read_anomaly(root), read_anomaly(as_folders(root, tmp_path / "folders"))
    for role in ("val", "test"):
        a, b = (
            {Path(found.files[row]).name: (found.labels[row], found.masks[row] is None) for row in found.rows(role)}
            for found in (table, folders)
        )
        assert a == b
    assert (folders.labels[folders.rows("mixed")] == UNKNOWN).all() and len(folders.rows("healthy")) == 8


def test_coco_images_with_boxes_are_anomalous(tmp_path: Path) -> None:
    root = write_prepared(tmp_path, num_images=6)
    extra = [dict(id=90 + i, file_name=f"h{i}.png", width=96, height=80, patient_id=f"h{i}") for i in range(8)]
    annotations = root / "annotations" / "train.json"
    content = json.loads(annotations.read_text())
    content["images"] += extra
    annotations.write_text(json.dumps(content))
    rng = np.random.default_rng(1)
    for image in extra:
        cv2.imwrite(str(root / "images" / image["file_name"]), rng.integers(0, 90, (80, 96), np.uint8))
    found = read_anomaly(root)
    healthy, mixed = found.rows("healthy"), found.rows("mixed")
    assert len(healthy) + len(mixed) == 14 and len(healthy) >= 1 and (found.labels[healthy] == 0).all()
    assert found.labels[mixed].sum() == 5 and found.labels[found.rows("test")].sum() == 5
    boxes = found.boxes[int(np.flatnonzero(found.labels == 1)[0])]
    assert boxes is not None and boxes.min() >= 0 and boxes.max() <= 1 and (boxes[:, 2:] > boxes[:, :2]).all()


FAULTS = {
    "role": (lambda row: row | {"role": row["role"].replace("val", "validation")}, r"line 18: .*role 'validation'"),
    "label": (lambda row: row | {"label": "ill" if row["role"] == "val" else row["label"]}, r"label 'ill'"),
    "no healthy": (lambda row: None if row["role"] == "healthy" else row, r"no image of role healthy \(set B\)"),
    "ill healthy": (lambda row: row | {"label": "1" if row["role"] == "healthy" else row["label"]}, "says anomalous"),
    "one class": (lambda row: None if row["role"] + row["label"] == "test1" else row, r"all 2 images .* are healthy"),
    "unlabelled test": (lambda row: row | {"label": "" if row["role"] == "test" else row["label"]}, "it has no label"),
    "patient": (lambda row: row | {"patient": row["patient"].replace("healthy0", "mixed0")}, r"\(first: mixed0"),
    "missing": (lambda row: row | {"image": row["image"].replace("val_001", "gone")}, r"gone.png'.*does not exist"),
    "twice": (lambda row: row | {"image": row["image"].replace("val_001", "val_000")}, r"val_000.png'.*listed twice"),
    "mask": (lambda row: row | {"mask": row["mask"].replace("val_001", "gone")}, r"mask .*gone.png"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named(root: Path, name: str) -> None:
    edit, message = FAULTS[name]
    change(root, edit)
    with pytest.raises(DatasetError, match=message):
        read_anomaly(root)


@pytest.mark.parametrize("role, other", [("mixed", "test"), ("healthy", "val"), ("val", "test")])
def test_same_file_under_two_names_is_found(root: Path, role: str, other: str) -> None:
    shutil.copy(root / "images" / f"{role}_003.png", root / "images" / f"{other}_003.png")
    with pytest.raises(DatasetError, match=rf"{role}_003.png \({role}\) and .*{other}_003.png \({other}\) are the"):
        read_anomaly(root)


def test_no_folder_of_a_known_kind(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds neither anomaly\.csv nor"):
        read_anomaly(tmp_path)


def test_dicom_in_a_folder_says_what_to_do(root: Path, tmp_path: Path) -> None:
    folders = as_folders(root, tmp_path / "folders")
    (folders / "healthy" / "a.dcm").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"a.dcm is DICOM; .*data_prep anomaly"):
        read_anomaly(folders)


def test_what_is_odd_is_said_in_one_line_each(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(anomaly_checks, "print_log", lambda text, **_: said.append(text))
    read_anomaly(root)
    assert said == []
    change(root, lambda row: row | {"label": "0", "mask": ""} if row["role"] == "mixed" else row)
    path = str(root / "images" / "mixed_000.png")
    cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_COLOR))
    read_anomaly(root)
    assert len(said) == 2 and "AUCp" in said[0] and "23 of 24 files looked at are grey" in said[1]
