"""What a comparison of anomaly detectors keeps of each training, as files; and scores that need no training.

Written and read by ``python tools/benchmark_anomaly.py``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medkit.data.anomaly_table import AnomalySet
from medkit.data.transforms.loading import read_image
from medkit.errors import WeightsError
from medkit.evaluation.functional.grading import auroc
from medkit.evaluation.tables import without_nan, write_json

__all__ = ["AnomalyBenchmark", "AnomalyRecord", "baselines", "read_record", "write_record"]


@dataclass(frozen=True)
class AnomalyRecord:
    """One training on the val and test images: scores ``(V,)`` and ``(T,)``, other facts, and a few maps of test.

    ``facts``: aucp, aucp_note, pixel_auroc, aupro, dice (where masks are), ms_per_image, peak_mb, train_seconds,
    checkpoint, span, and what `AnomalyBenchmark` needs to tell settings apart. ``shown`` are rows of test, those of the
    highest scores and then those of the lowest, with ``maps`` (K, H, W) and ``images`` (K, H, W, 3) uint8 BGR.
    """

    method: str
    seed: int
    val_scores: np.ndarray
    test_scores: np.ndarray
    facts: dict[str, Any]
    shown: np.ndarray | None = None
    maps: np.ndarray | None = None
    images: np.ndarray | None = None


@dataclass(frozen=True)
class AnomalyBenchmark:
    """All records, the truth of the images, and what failed: (method, seed, why)."""

    dataset: AnomalySet
    val: np.ndarray
    test: np.ndarray
    records: tuple[AnomalyRecord, ...]
    failures: tuple[tuple[str, int, str], ...] = ()

    def labels(self, role: str) -> np.ndarray:
        """Labels of the images of val or test, in the order of the records' scores."""
        return self.dataset.labels[self.val if role == "val" else self.test]


def baselines(found: AnomalySet, size: int) -> list[AnomalyRecord]:
    """Scores that know nothing of anatomy; a method that does not beat them has learnt a shortcut at most.

    Mean intensity and sharpness (variance of the Laplacian) of the images at ``size`` x ``size`` pixels. The sign of
    each is the one that does better on the validation images.
    """
    values = {name: np.zeros(len(found.files)) for name in ("mean intensity", "sharpness")}
    for row in np.concatenate([found.rows("val"), found.rows("test")]):
        image = read_image(found.files[row])
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        grey = cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA)
        values["mean intensity"][row] = grey.mean()
        values["sharpness"][row] = cv2.Laplacian(grey, cv2.CV_64F).var()
    records, val = [], found.rows("val")
    for name, value in values.items():
        sign = 1 if auroc(found.labels[val], value[val]) >= 0.5 else -1
        method = f"{name} ({'high' if sign > 0 else 'low'} = anomalous)"
        records.append(AnomalyRecord(method, -1, sign * value[val], sign * value[found.rows("test")], {}))
    return records


def write_record(path: Path, record: AnomalyRecord) -> None:
    """Write PATH.npz and PATH.json: arrays first, json last: what has its json is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(record, name) for name in ("val_scores", "test_scores", "shown", "maps", "images")}
    np.savez_compressed(path.with_name(f"{path.name}.npz"), **arrays)
    write_json(path.with_name(f"{path.name}.json"), without_nan(record.facts))


def read_record(path: Path, method: str, seed: int) -> AnomalyRecord | None:
    """What `write_record` wrote; None where there is no (complete) record.

    Raises:
        WeightsError: the files are spoilt.
    """
    facts = path.with_name(f"{path.name}.json")
    if not facts.is_file():
        return None
    try:
        content = json.loads(facts.read_text(encoding="utf-8"))
        content["aucp"] = float("nan") if content["aucp"] is None else content["aucp"]
        with np.load(path.with_name(f"{path.name}.npz")) as arrays:
            kept = {name: arrays[name] for name in ("val_scores", "test_scores", "shown", "maps", "images")}
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{facts} or its .npz cannot be read ({error}); remove both, and they are made again"
        ) from error
    return AnomalyRecord(method, seed, facts=content, **kept)
