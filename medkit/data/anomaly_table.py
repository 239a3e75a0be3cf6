"""Images for anomaly detection: an unlabelled mix (set A), known-healthy ones (set B), labelled ones to judge by.

Three kinds of folder are read: one with ``anomaly.csv`` (``python -m data_prep anomaly EXPORT OUT``), plain folders
``mixed/ healthy/ val/{healthy,anomalous}/ test/{healthy,anomalous}/``, and a set of ``python -m data_prep EXPORT OUT``.
docs/anomaly_data.md describes them. Used by `medkit.AnomalyPairs`, `medkit.AnomalyImages`, tools/benchmark_anomaly.py.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkit.data.anomaly_checks import (
    ANOMALOUS,
    HEALTHY,
    UNKNOWN,
    check_files,
    check_no_shared_file,
    check_roles,
    remark,
)
from medkit.data.lesion_dataset import read_coco
from medkit.data.unlabelled import IMAGE_SUFFIXES
from medkit.errors import DatasetError

__all__ = ["ANOMALOUS", "HEALTHY", "ROLES", "UNKNOWN", "AnomalySet", "read_anomaly"]

ROLES = ("mixed", "healthy", "val", "test")
_LABELS = {"0": HEALTHY, "healthy": HEALTHY, "1": ANOMALOUS, "anomalous": ANOMALOUS, "": UNKNOWN, "-1": UNKNOWN}
_NEEDED = ("image", "role", "label")
_COLUMNS = (*_NEEDED, "patient", "mask")
_DICOM = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class AnomalySet:
    """Images with their roles, N of them.

    Attributes:
        files: paths of the images.
        labels: ``(N,)`` int64: 0 healthy, 1 anomalous, -1 unknown. Training never looks at those of ``mixed``.
        roles: ``(N,)`` str: mixed, healthy, val or test; never two for one patient.
        patients: ``(N,)`` str; an image without a patient is one of its own.
        masks: path of the mask of each image (not 0 where anomalous), or None.
        boxes: ``(K, 4)`` float32 xyxy of each image, which stand in for a mask in a COCO set, or None.
        root: folder it was read from.
    """

    files: tuple[str, ...]
    labels: np.ndarray
    roles: np.ndarray
    patients: np.ndarray
    masks: list[str | None]
    boxes: list[np.ndarray | None]
    root: str = ""

    def rows(self, role: str) -> np.ndarray:
        """Indices of the images of a role."""
        return np.flatnonzero(self.roles == role)

    @property
    def contamination(self) -> float | None:
        """Share of anomalous images in ``mixed``; None where a label there is unknown or ``mixed`` is empty."""
        labels = self.labels[self.rows("mixed")]
        return None if not len(labels) or (labels == UNKNOWN).any() else float((labels == ANOMALOUS).mean())

    @property
    def has_masks(self) -> bool:
        """Is any anomaly outlined?"""
        return any(mask is not None for mask in self.masks) or any(boxes is not None for boxes in self.boxes)

    def __str__(self) -> str:
        parts = []
        for role in ROLES:
            rows = self.rows(role)
            counts = [int((self.labels[rows] == label).sum()) for label in (HEALTHY, ANOMALOUS, UNKNOWN)]
            named = [f"{n} {name}" for n, name in zip(counts, ("healthy", "anomalous", "unlabelled"), strict=True) if n]
            parts.append(f"{role} {len(rows)} images of {len(set(self.patients[rows]))} patients ({', '.join(named)})")
        return "; ".join(parts)


def read_anomaly(root: str | Path) -> AnomalySet:
    """Read a folder of any of the three kinds and check that it can be trained on and judged by.

    One line is logged where ``mixed`` is known to hold no anomalous image, and where grey and colour are mixed.

    Raises:
        DatasetError: no such folder, a file missing or listed twice, a wrong role or label, a patient in two roles, no
            healthy image, an anomalous one among them, val or test of one class or with unknown labels, or one file
            both in training and in val or test.
    """
    root = Path(root)
    if (root / "anomaly.csv").is_file():
        rows = _csv_rows(root)
    elif (root / "annotations").is_dir():
        rows = _coco_rows(root)
    elif (root / "healthy").is_dir() or (root / "mixed").is_dir():
        rows = _folder_rows(root)
    else:
        raise DatasetError(
            f"{root} holds neither anomaly.csv nor annotations/ nor the folders healthy/ and mixed/; write a set with "
            "`python -m data_prep anomaly EXPORT OUT` and name OUT (--data-root)"
        )
    found = AnomalySet(
        files=tuple(row["file"] for row in rows),
        labels=np.array([row["label"] for row in rows], np.int64),
        roles=np.array([row["role"] for row in rows], dtype=str),
        patients=np.array([row["patient"] or f"image {row['file']}" for row in rows], dtype=str),
        masks=[row.get("mask") for row in rows],
        boxes=[row.get("boxes") for row in rows],
        root=str(root),
    )
    check_files(found)
    check_roles(found)
    check_no_shared_file(found)
    remark(found)
    return found


def _csv_rows(root: Path) -> list[dict]:
    """anomaly.csv: paths of images start in images/, those of masks in masks/."""
    table, rows = root / "anomaly.csv", []
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if lacking:
            raise DatasetError(f"{table} lacks the columns {lacking}; it needs {', '.join(_COLUMNS)}")
        for number, row in enumerate(reader, 2):
            image, role, label, patient, mask = ((row.get(name) or "").strip() for name in _COLUMNS)
            if role not in ROLES or label.lower() not in _LABELS or not image:
                raise DatasetError(
                    f"{table}, line {number}: image {image!r}, role {role!r}, label {label!r}; expected a path, one of "
                    f"{', '.join(ROLES)}, and 0, 1 or nothing where it is unknown"
                )
            rows.append({"file": str(root / "images" / image), "role": role, "patient": patient})
            rows[-1].update(label=_LABELS[label.lower()], mask=str(root / "masks" / mask) if mask else None)
    return rows


def _folder_rows(root: Path) -> list[dict]:
    """Folders: the role is the first one, the label the second (of ``mixed``: where there is one)."""
    rows: list[dict] = []
    for path in sorted(path for role in ROLES for path in (root / role).rglob("*") if path.is_file()):
        name, suffix = path.relative_to(root), path.suffix.lower()
        if suffix in _DICOM:
            raise DatasetError(f"{path} is DICOM; write the set with `python -m data_prep anomaly {root} OUT`")
        if suffix not in IMAGE_SUFFIXES:
            continue
        role, inner = name.parts[0], name.parts[1] if len(name.parts) > 2 else ""
        if role in ("val", "test") and inner not in ("healthy", "anomalous"):
            raise DatasetError(f"{path}: expected it in {root / role}/healthy/ or {root / role}/anomalous/")
        label = HEALTHY if role == "healthy" else {"healthy": HEALTHY, "anomalous": ANOMALOUS}.get(inner, UNKNOWN)
        mask = (root / "masks" / name).with_suffix(".png")
        rows.append({"file": str(path), "role": role, "label": label, "patient": ""})
        rows[-1]["mask"] = str(mask) if mask.is_file() else None
    return rows


def _coco_rows(root: Path) -> list[dict]:
    """A prepared COCO set: images with boxes are anomalous.

    Of the patients of train without any lesion every other one (by a hash of the name) is in ``healthy``; all others
    are ``mixed``. `python -m data_prep anomaly --coco` chooses the contamination instead.
    """
    rows: list[dict] = []
    for split in ("train", "val", "test"):
        content = read_coco(root / "annotations" / f"{split}.json")
        boxes = defaultdict(list)
        for one in content["annotations"]:
            boxes[one["image_id"]].append(one["bbox"])
        patient_of = {one["id"]: str(one.get("patient_id") or one["file_name"]) for one in content["images"]}
        diseased = {patient_of[number] for number in boxes}
        for image in content["images"]:
            patient = patient_of[image["id"]]
            spare = patient not in diseased and hashlib.sha1(patient.encode()).digest()[0] % 2 == 0
            role = split if split != "train" else "healthy" if spare else "mixed"
            rows.append({"file": str(root / "images" / image["file_name"]), "role": role, "patient": patient})
            rows[-1].update(label=int(image["id"] in boxes), boxes=_shares(boxes.get(image["id"]), image))
    return rows


def _shares(boxes: list[list[float]] | None, image: dict) -> np.ndarray | None:
    """COCO's xywh in pixels as (K, 4) float32 xyxy in shares of the image."""
    if boxes is None:
        return None
    x, y, width, height = np.array(boxes, np.float32).reshape(-1, 4).T
    shares = np.stack([x, y, x + width, y + height], axis=1)
    return np.clip(shares / np.array([image["width"], image["height"]] * 2, np.float32), 0, 1)
