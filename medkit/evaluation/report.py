"""Everything that is known about one evaluated set: the numbers, as metrics, tables, json and csv files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .coco import CocoResult, coco_ap
from .functional import (
    BinaryView,
    Bootstrap,
    Calibration,
    ClassTable,
    ConfidenceCurves,
    Froc,
    ImageBoxes,
    LesionEvents,
    Matches,
    Thresholds,
    binary_view,
    bootstrap,
    calibration_of,
    choose_threshold,
    class_table,
    confidence_curves,
    froc,
    lesion_matrix,
    match,
    one_to_one_matrix,
    resample,
)
from .malignancy import MALIGNANT, malignant_indices
from .tables import LEVEL, calibration_json, curve_arrays, froc_json, intervals_json, without_nan, write_csv, write_json

__all__ = ["IN_SAMPLE", "MALIGNANT", "LesionReport", "build_report", "malignant_indices"]

IN_SAMPLE = "chosen on this very set: in-sample, optimistic"


@dataclass(frozen=True)
class LesionReport:
    """Result of one evaluation.

    ``matches`` is what all the rest was read from. ``matrix`` is the lesion-level confusion matrix ``(C+1, C+1)``
    (row = truth, column = prediction, index 0 = None), ``table`` is read from it. ``one_to_one`` is the table of
    COCO's one-to-one protocol at IoU 0.5 and the same threshold. ``score_thr`` is the threshold; where there is
    one per class, these are ``class_thr`` ``(C,)``, and ``score_thr`` is the lowest of them. ``events`` has only
    what reaches the thresholds per class, where there are any, else everything. ``calibration`` is that of all
    predictions, ``calibration_kept`` of those that reach the threshold. ``informative`` is False if no threshold
    gives an F1 above 0. ``bootstrap`` is None where no intervals were asked for.
    """

    classes: tuple[str, ...]
    num_images: int
    iou_thr: float
    score_thr: float
    class_thr: np.ndarray | None
    score_thr_from: str
    informative: bool
    matches: Matches
    events: LesionEvents
    matrix: np.ndarray
    table: ClassTable
    one_to_one: ClassTable
    coco: CocoResult
    binary: BinaryView | None
    curves: ConfidenceCurves
    froc: Froc
    calibration: Calibration
    calibration_kept: Calibration
    bootstrap: Bootstrap | None = None

    @property
    def thresholds(self) -> Thresholds:
        """The threshold, or those of the classes ``(C,)``: as `Matches` and the functions take it."""
        return self.score_thr if self.class_thr is None else self.class_thr

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
                **dict(zip(("AP_s", "AP_m", "AP_l"), self.coco.class_size_ap[c, 1:].tolist(), strict=True)),
                "score_thr": self.score_thr if self.class_thr is None else float(self.class_thr[c]),
                **self._ends(f"_{c}", f"coco/AP_{c}"),
            }
            for c, name in enumerate(self.classes)
        ]

    def macro_row(self) -> dict[str, Any]:
        """Sums of the counts and means of the rates; the mean AP is COCO's mAP."""
        table, strict, coco = self.table, self.one_to_one, self.coco
        return {
            "class": "macro",
            "lesions": int(table.lesions.sum()),
            "precision": table.macro_precision,
            "recall": table.macro_recall,
            "f1": table.macro_f1,
            "misses": int(table.misses.sum()),
            "over_detections": int(table.over_detections.sum()),
            "AP": coco.mAP,
            "one_to_one_precision": strict.macro_precision,
            "one_to_one_recall": strict.macro_recall,
            "one_to_one_f1": strict.macro_f1,
            **{"AP_s": coco.mAP_s, "AP_m": coco.mAP_m, "AP_l": coco.mAP_l},
            "score_thr": self.score_thr if self.class_thr is None else None,
            **self._ends("", "coco/mAP"),
        }

    def _ends(self, suffix: str, ap: str) -> dict[str, float]:
        """Limits of the intervals of a row of the table; empty without intervals."""
        if self.bootstrap is None:
            return {}
        names = {name: f"lesion/{name}{suffix}" for name in ("precision", "recall", "f1")} | {"AP": ap}
        ends = {name: self.bootstrap.interval(metric, LEVEL) for name, metric in names.items()}
        return {f"{n}_{end}": pair[i] for n, pair in ends.items() for i, end in enumerate(("low", "high"))}

    def to_json(self) -> dict:
        """Everything as plain json types; nan becomes None."""
        class_thr = None if self.class_thr is None else dict(zip(self.classes, self.class_thr.tolist(), strict=True))
        content = {
            "metrics": self.metrics(),
            "per_class": [*self.rows(), self.macro_row()],
            "score_thr": self.score_thr,
            "class_score_thr": class_thr,
            "score_thr_from": self.score_thr_from,
            "score_thr_informative": self.informative,
            "iou_thr": self.iou_thr,
            "num_images": self.num_images,
            "confusion_matrix": {"labels": ["None", *self.classes], "rows_are_truth": self.matrix.tolist()},
            "malignant_vs_benign": None if self.binary is None else asdict(self.binary),
            "coco_backend": self.coco.backend,
            "intervals": intervals_json(self.bootstrap, self.classes),
            "froc": froc_json(self.froc, self.classes),
            "calibration": calibration_json(self.calibration, self.calibration_kept),
        }
        return without_nan(content)

    def write(self, out_dir: Path) -> list[Path]:
        """Write metrics.json, per_class.csv, confusion_matrix.csv and curves.npz; return their paths."""
        out_dir.mkdir(parents=True, exist_ok=True)
        rows = [*self.rows(), self.macro_row()]
        labels = ["None", *self.classes]
        matrix = [[label, *row] for label, row in zip(labels, self.matrix.tolist(), strict=True)]
        curves = out_dir / "curves.npz"
        np.savez_compressed(curves, **curve_arrays(self.curves, self.froc, self.coco))  # type: ignore[arg-type]
        return [
            write_json(out_dir / "metrics.json", self.to_json()),
            write_csv(out_dir / "per_class.csv", [list(rows[0]), *(list(row.values()) for row in rows)]),
            write_csv(out_dir / "confusion_matrix.csv", [["truth \\ prediction", *labels], *matrix]),
            curves,
        ]


def build_report(
    images: Sequence[ImageBoxes],
    classes: Sequence[str],
    *,
    iou_thr: float = 0.25,
    score_thr: float | Sequence[float] | None = None,
    score_thr_from: str = "",
    malignant: Sequence[str] | None = None,
    patients: Sequence[str | None] | None = None,
    num_draws: int = 0,
    coco_backend: str = "medkit",
) -> LesionReport:
    """Evaluate a data set.

    Args:
        images: One record per image.
        classes: Class names, in the order of the labels.
        iou_thr: Smallest IoU at which a prediction touches a lesion.
        score_thr: Fixed threshold, or one per class; None chooses the one of the highest macro F1 on these images.
        score_thr_from: Where a fixed threshold came from, for the reader.
        malignant: Malignant classes, see `malignant_indices`.
        patients: Patient of each image, for the intervals; None or '' where it is not known.
        num_draws: Draws of the bootstrap; 0 gives no intervals.
        coco_backend: What computes COCO's AP, see `coco_ap`.
    """
    malignant_classes = malignant_indices(classes, malignant)
    num_classes = len(classes)
    matches = match(images, num_classes, iou_thr)
    informative = True
    if score_thr is None:
        choice = choose_threshold(matches.events, num_classes)
        score_thr, score_thr_from, informative = choice.score_thr, IN_SAMPLE, choice.informative
    thresholds: Thresholds = float(score_thr) if isinstance(score_thr, (int, float)) else np.asarray(score_thr, float)
    report = _report_at(matches, thresholds, classes, malignant_classes, coco_backend)
    if num_draws:
        drawn = resample(patients, matches.num_images, num_draws)
        report = replace(report, bootstrap=bootstrap(matches, thresholds, drawn, malignant=malignant_classes))
    informative &= bool(report.curves.macro_f1.max(initial=0) > 0)
    return replace(report, score_thr_from=score_thr_from or "given", informative=informative)


def _report_at(
    matches: Matches, thresholds: Thresholds, classes: Sequence[str], malignant: list[int], coco_backend: str
) -> LesionReport:
    per_class = isinstance(thresholds, np.ndarray)
    num_classes, events = len(classes), matches.events
    matrix = lesion_matrix(events, thresholds, num_classes)
    return LesionReport(
        classes=tuple(classes),
        num_images=matches.num_images,
        iou_thr=matches.iou_thr,
        score_thr=float(np.min(thresholds)),
        class_thr=np.asarray(thresholds) if per_class else None,
        score_thr_from="given",
        informative=True,
        matches=matches,
        events=events.reaching(thresholds) if per_class else events,
        matrix=matrix,
        table=class_table(matrix),
        one_to_one=class_table(one_to_one_matrix(matches, thresholds, num_classes)),
        coco=coco_ap(matches, num_classes, coco_backend),
        binary=binary_view(matrix, malignant) if malignant else None,
        curves=confidence_curves(events, num_classes),
        froc=froc(events, matches.num_images, num_classes),
        calibration=calibration_of(matches),
        calibration_kept=calibration_of(matches, thresholds),
    )
