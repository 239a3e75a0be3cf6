"""Everything that is known about one evaluated set: the numbers, as metrics, tables, json and csv files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medkit.errors import ConfigError

from .coco import CocoResult, coco_ap
from .functional import (
    BinaryView,
    ClassTable,
    ImageBoxes,
    LesionEvents,
    binary_view,
    choose_threshold,
    class_table,
    lesion_events,
    lesion_matrix,
    one_to_one_matrix,
)

__all__ = ["MALIGNANT", "LesionReport", "build_report", "malignant_indices"]

MALIGNANT = ("HCC", "metastasis", "malignant")
IN_SAMPLE = "chosen on this very set: in-sample, optimistic"


@dataclass(frozen=True)
class LesionReport:
    """Result of one evaluation.

    ``matrix`` is the lesion-level confusion matrix ``(C+1, C+1)`` at ``score_thr`` (row = truth, column =
    prediction, index 0 = None), ``table`` is read from it. ``one_to_one`` is the table of COCO's one-to-one
    protocol at IoU 0.5 and the same threshold. ``informative`` is False if no threshold gives an F1 above 0.
    """

    classes: tuple[str, ...]
    num_images: int
    iou_thr: float
    score_thr: float
    score_thr_from: str
    informative: bool
    events: LesionEvents
    matrix: np.ndarray
    table: ClassTable
    one_to_one: ClassTable
    coco: CocoResult
    binary: BinaryView | None

    def metrics(self) -> dict[str, float]:
        """Flat metrics under the keys that checkpoints and loggers use."""
        values = {f"coco/{name}": value for name, value in self.coco.headline().items()}
        values |= {f"coco/AP_{n}": float(ap) for n, ap in zip(self.classes, self.coco.class_ap, strict=True)}
        values |= {
            "lesion/precision": self.table.macro_precision,
            "lesion/recall": self.table.macro_recall,
            "lesion/f1": self.table.macro_f1,
        }
        values |= {f"lesion/f1_{n}": float(f1) for n, f1 in zip(self.classes, self.table.f1, strict=True)}
        return values | {"lesion/score_thr": self.score_thr}

    def rows(self) -> list[dict[str, Any]]:
        """The per-class table, one dict per class."""
        table, strict = self.table, self.one_to_one
        return [
            {
                "class": name,
                "lesions": int(table.lesions[c]),
                "precision": float(table.precision[c]),
                "recall": float(table.recall[c]),
                "f1": float(table.f1[c]),
                "misses": int(table.misses[c]),
                "over_detections": int(table.over_detections[c]),
                "AP": float(self.coco.class_ap[c]),
                "one_to_one_precision": float(strict.precision[c]),
                "one_to_one_recall": float(strict.recall[c]),
                "one_to_one_f1": float(strict.f1[c]),
            }
            for c, name in enumerate(self.classes)
        ]

    def macro_row(self) -> dict[str, Any]:
        """Sums of the counts and means of the rates; the mean AP is COCO's mAP."""
        table, strict = self.table, self.one_to_one
        return {
            "class": "macro",
            "lesions": int(table.lesions.sum()),
            "precision": table.macro_precision,
            "recall": table.macro_recall,
            "f1": table.macro_f1,
            "misses": int(table.misses.sum()),
            "over_detections": int(table.over_detections.sum()),
            "AP": self.coco.mAP,
            "one_to_one_precision": strict.macro_precision,
            "one_to_one_recall": strict.macro_recall,
            "one_to_one_f1": strict.macro_f1,
        }

    def to_json(self) -> dict:
        """Everything as plain json types; nan becomes None."""
        content = {
            "metrics": self.metrics(),
            "per_class": [*self.rows(), self.macro_row()],
            "score_thr": self.score_thr,
            "score_thr_from": self.score_thr_from,
            "score_thr_informative": self.informative,
            "iou_thr": self.iou_thr,
            "num_images": self.num_images,
            "confusion_matrix": {"labels": ["None", *self.classes], "rows_are_truth": self.matrix.tolist()},
            "malignant_vs_benign": None if self.binary is None else asdict(self.binary),
        }
        return _without_nan(content)

    def write(self, out_dir: Path) -> list[Path]:
        """Write metrics.json, per_class.csv and confusion_matrix.csv; return their paths."""
        out_dir.mkdir(parents=True, exist_ok=True)
        metrics, per_class = out_dir / "metrics.json", out_dir / "per_class.csv"
        metrics.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        with per_class.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.macro_row()))
            writer.writeheader()
            writer.writerows([*self.rows(), self.macro_row()])
        matrix = out_dir / "confusion_matrix.csv"
        with matrix.open("w", newline="", encoding="utf-8") as file:
            labels = ["None", *self.classes]
            csv.writer(file).writerows(
                [["truth \\ prediction", *labels]]
                + [[label, *row] for label, row in zip(labels, self.matrix.tolist(), strict=True)]
            )
        return [metrics, per_class, matrix]


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def malignant_indices(classes: Sequence[str], malignant: Sequence[str] | None) -> list[int]:
    """Indices of the malignant classes; empty when there is no two-class view.

    Args:
        classes: All class names.
        malignant: Names of the malignant ones; None takes those of `MALIGNANT` that exist.

    Raises:
        ConfigError: A name was given that is not a class.
    """
    unknown = [name for name in malignant or () if name not in classes]
    if unknown:
        raise ConfigError(
            f"malignant names {unknown}, but the classes are {list(classes)}; correct `malignant` of "
            "LesionMetric"
        )
    names = MALIGNANT if malignant is None else malignant
    indices = [index for index, name in enumerate(classes) if name in names]
    return indices if len(indices) < len(classes) else []


def build_report(
    images: Sequence[ImageBoxes],
    classes: Sequence[str],
    *,
    iou_thr: float = 0.25,
    score_thr: float | None = None,
    score_thr_from: str = "",
    malignant: Sequence[str] | None = None,
) -> LesionReport:
    """Evaluate a data set.

    Args:
        images: One record per image.
        classes: Class names, in the order of the labels.
        iou_thr: Smallest IoU at which a prediction touches a lesion.
        score_thr: Fixed threshold; None chooses the one of the highest macro F1 on these images.
        score_thr_from: Where a fixed threshold came from, for the reader.
        malignant: Malignant classes, see `malignant_indices`.
    """
    malignant_classes = malignant_indices(classes, malignant)
    events = lesion_events(images, iou_thr)
    informative = True
    if score_thr is None:
        choice = choose_threshold(events, len(classes))
        score_thr, score_thr_from, informative = choice.score_thr, IN_SAMPLE, choice.informative
    matrix = lesion_matrix(events, score_thr, len(classes))
    return LesionReport(
        classes=tuple(classes),
        num_images=len(images),
        iou_thr=iou_thr,
        score_thr=float(score_thr),
        score_thr_from=score_thr_from or "given",
        informative=informative,
        events=events,
        matrix=matrix,
        table=class_table(matrix),
        one_to_one=class_table(one_to_one_matrix(images, score_thr, len(classes))),
        coco=coco_ap(images, len(classes)),
        binary=binary_view(matrix, malignant_classes) if malignant_classes else None,
    )
