"""A report's numbers as files: metrics.json, per_class.csv, confusion_matrix.csv and curves.npz."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .coco import CocoResult
from .functional import RECALLS, Bootstrap, Calibration, ConfidenceCurves, Froc

__all__ = [
    "LEVEL",
    "calibration_json",
    "curve_arrays",
    "froc_json",
    "intervals_json",
    "without_nan",
    "write_csv",
    "write_json",
]

LEVEL = 0.95  # of all intervals


def intervals_json(bootstrap: Bootstrap | None, classes: Sequence[str]) -> dict[str, Any] | None:
    """Percentile intervals, metrics by class name; None where nothing was resampled."""
    if bootstrap is None:
        return None
    taken = bootstrap.resampling
    return {
        "level": LEVEL,
        "draws": taken.num_draws,
        "seed": taken.seed,
        "resampled": taken.unit,
        "values": {named(name, classes): list(bootstrap.interval(name, LEVEL)) for name in bootstrap.draws},
    }


def named(metric: str, classes: Sequence[str]) -> str:
    """A metric of `bootstrap` under the name that metrics.json uses: 'lesion/f1_0' -> 'lesion/f1_cyst'."""
    stem, _, index = metric.rpartition("_")
    return f"{stem}_{classes[int(index)]}" if index.isdigit() and metric != "coco/mAP_50" else metric


def froc_json(froc: Froc, classes: Sequence[str]) -> dict[str, Any]:
    """FROC with the words that say what it counts."""
    return {
        "protocol": "lesion level: found = touched by a prediction of any class; false positive = touches none",
        "false_positives_per_image": froc.rates.tolist(),
        "sensitivity": froc.sensitivity.tolist(),
        "mean_sensitivity": froc.mean,
        "sensitivity_named_rightly": froc.named_sensitivity.tolist(),
        "class_sensitivity": dict(zip(classes, froc.class_sensitivity.tolist(), strict=True)),
    }


def calibration_json(whole: Calibration, kept: Calibration) -> dict[str, Any]:
    """Calibration of all predictions, and its error among those that reach the threshold."""
    return {
        "correct": "decides a lesion of its own class; predictions that touch one without deciding it are left out",
        "ece": whole.ece,
        "ece_at_threshold": kept.ece,
        "bin_edges": whole.edges.tolist(),
        "counts": whole.counts.tolist(),
        "mean_score": whole.confidence.tolist(),
        "share_correct": whole.accuracy.tolist(),
    }


def curve_arrays(curves: ConfidenceCurves, froc: Froc, coco: CocoResult) -> dict[str, np.ndarray]:
    """What curves.npz holds."""
    return {
        "thresholds": curves.thresholds,
        "precision": curves.precision,
        "recall": curves.recall,
        "f1": curves.f1,
        "froc_false_positives_per_image": froc.curve_rates,
        "froc_sensitivity": froc.curve_sensitivity,
        "pr_recall": RECALLS,
        "pr_precision_iou50": coco.pr_50,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write json that holds no nan."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    """Write rows, the first of which is the header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def without_nan(value: Any) -> Any:
    """The same json content with None for nan."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
