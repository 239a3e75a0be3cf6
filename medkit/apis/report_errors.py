"""What went wrong in a scored set: single errors, the worst first, and recall by lesion size and place.

Numbers for the galleries and plots of tools/report.py; they read everything from the one matching pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medkit.evaluation.functional import LesionStatus, PredStatus
from medkit.evaluation.functional.bootstrap import percentiles
from medkit.evaluation.report import LesionReport

__all__ = ["LesionError", "SizeRecall", "confusions", "false_positives", "miss_map", "misses", "recall_by_size"]

GRID = (6, 8)  # rows and columns of the map of misses
MOST_BINS, FEWEST_IN_BIN = 5, 8


@dataclass(frozen=True)
class LesionError:
    """One error.

    Attributes:
        kind: 'miss', 'false positive' or 'confusion'.
        image: Position of the image.
        bbox: ``(4,)`` xyxy in pixels: the lesion's box, or the false positive's.
        label: True class; -1 for a false positive.
        called: Predicted class; for a miss that of the best candidate under the threshold, -1 without one.
        score: Score of that prediction; 0 without one.
    """

    kind: str
    image: int
    bbox: np.ndarray
    label: int
    called: int
    score: float


def misses(report: LesionReport) -> list[LesionError]:
    """Missed lesions: those with the lowest score of any candidate first, among equals the largest."""
    boxes, events = report.matches.boxes, report.matches.events
    lost = np.flatnonzero(report.matches.lesion_status(report.thresholds) == LesionStatus.MISSED)
    scores = np.maximum(events.lesion_scores, 0)
    order = lost[np.lexsort((lost, -boxes.gt_areas[events.lesion_gts[lost]], scores[lost]))]
    return [_of_lesion(report, "miss", i, int(events.lesion_preds[i]), float(scores[i])) for i in order]


def confusions(report: LesionReport) -> list[LesionError]:
    """Lesions found and named wrongly, the surest first."""
    matches = report.matches
    wrong = np.flatnonzero(matches.lesion_status(report.thresholds) == LesionStatus.CONFUSED)
    deciding = matches.deciding_preds(report.thresholds)
    scores = matches.boxes.pred_scores[deciding[wrong]]
    return [
        _of_lesion(report, "confusion", i, int(matches.boxes.pred_labels[deciding[i]]), float(score))
        for i, score in ((wrong[k], scores[k]) for k in np.lexsort((wrong, -scores)))
    ]


def false_positives(report: LesionReport) -> list[LesionError]:
    """Predictions that touch no lesion, the surest first."""
    boxes = report.matches.boxes
    over = np.flatnonzero(report.matches.pred_status(report.thresholds) == PredStatus.OVER)
    order = over[np.lexsort((over, -boxes.pred_scores[over]))]
    return [
        LesionError("false positive", int(boxes.pred_images[i]), boxes.pred_bboxes[i].astype(np.float64), -1,
                    int(boxes.pred_labels[i]), float(boxes.pred_scores[i]))
        for i in order
    ]  # fmt: skip


def _of_lesion(report: LesionReport, kind: str, lesion: int, called: int, score: float) -> LesionError:
    boxes, events = report.matches.boxes, report.matches.events
    box = boxes.gt_bboxes[events.lesion_gts[lesion]]
    return LesionError(kind, int(events.lesion_images[lesion]), box, int(events.lesion_labels[lesion]), called, score)


@dataclass(frozen=True)
class SizeRecall:
    """Share of the lesions found, and found and named rightly, in bins of size of about equal number.

    ``edges`` ``(B+1,)`` is the root of box area / image area, in per cent; ``low`` and ``high`` are the ends of the
    95 % interval of ``found``, resampled by patient (nan without a bootstrap). All others ``(B,)``.
    """

    edges: np.ndarray
    counts: np.ndarray
    found: np.ndarray
    named: np.ndarray
    low: np.ndarray
    high: np.ndarray


def recall_by_size(report: LesionReport, image_sizes: Sequence[tuple[float, float]]) -> SizeRecall:
    """Recall by lesion size; ``image_sizes`` holds (width, height) of each image."""
    events, status = report.matches.events, report.matches.lesion_status(report.thresholds)
    boxes = report.matches.boxes.gt_bboxes[events.lesion_gts]  # (L, 4)
    whole = np.asarray(image_sizes, float).reshape(-1, 2)[events.lesion_images]
    sides = 100 * np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / np.prod(whole, axis=1))  # (L,)
    num_bins = min(MOST_BINS, max(1, len(sides) // FEWEST_IN_BIN))
    edges = np.quantile(sides, np.linspace(0, 1, num_bins + 1)) if len(sides) else np.zeros(2)
    bins = np.clip(np.searchsorted(edges, sides, side="right") - 1, 0, num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    found, right = status != LesionStatus.MISSED, status == LesionStatus.RIGHT
    shares = [np.bincount(bins, weights=one, minlength=num_bins) / np.maximum(counts, 1) for one in (found, right)]
    ends = np.array([_interval(report, events.lesion_images, found, bins == k) for k in range(num_bins)])  # (B, 2)
    return SizeRecall(edges, counts, shares[0], shares[1], ends[:, 0], ends[:, 1])


def _interval(report: LesionReport, images: np.ndarray, found: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    if report.bootstrap is None:
        return float("nan"), float("nan")
    weights = report.bootstrap.resampling.weights[:, images[chosen]].astype(np.float64)  # (draws, n)
    total = weights.sum(axis=1)
    draws = np.divide(weights @ found[chosen], total, out=np.full(len(total), np.nan), where=total > 0)
    return percentiles(draws)


def miss_map(report: LesionReport, image_sizes: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Lesions, and missed ones, by the place of their centre in the image: two arrays ``(6, 8)``."""
    events = report.matches.events
    missed = report.matches.lesion_status(report.thresholds) == LesionStatus.MISSED
    boxes = report.matches.boxes.gt_bboxes[events.lesion_gts]
    whole = np.asarray(image_sizes, float).reshape(-1, 2)[events.lesion_images]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / whole  # (L, 2) in [0, 1]
    columns, rows = (np.clip((centres[:, axis] * GRID[1 - axis]).astype(int), 0, GRID[1 - axis] - 1) for axis in (0, 1))
    cells = rows * GRID[1] + columns
    size = GRID[0] * GRID[1]
    return (
        np.bincount(cells, minlength=size).reshape(GRID),
        np.bincount(cells[missed], minlength=size).reshape(GRID),
    )
