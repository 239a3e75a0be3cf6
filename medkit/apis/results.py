"""What a test leaves behind: numbers and predictions as json and csv, confusion matrix and sheet as png."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import numpy as np

from medkit.data.transforms.loading import read_image
from medkit.errors import DatasetError
from medkit.evaluation.functional import LesionEvents
from medkit.evaluation.metrics import ImageResult, LesionMetric
from medkit.evaluation.report import LesionReport
from medkit.visualization import SheetTile, plot_confusion_matrix, prediction_sheet

__all__ = ["choose_images", "write_predictions", "write_results"]


def write_results(
    metric: LesionMetric, out: Path, category_ids: Mapping[int, int] | None = None, num_tiles: int = 16
) -> list[Path]:
    """Write all files of a test.

    Args:
        metric: A LesionMetric after its evaluation, on the main process.
        out: Folder to write to.
        category_ids: Label -> category id for predictions.json; default label + 1.
        num_tiles: Images on the sheet; 0 draws none.

    Returns:
        The paths of the files.
    """
    report = metric.report
    assert report is not None, "write_results runs on the main process after the evaluation"
    paths = [*report.write(out), out / "confusion_matrix.png", out / "predictions.json"]
    plot_confusion_matrix(report.matrix, report.classes, title=_matrix_title(report), path=paths[-2])
    write_predictions(metric.image_results, paths[-1], category_ids)
    if num_tiles > 0:
        chosen = choose_images(report.events, report.score_thr, report.num_images, num_tiles)
        outcomes = _outcomes(report.events, report.score_thr, report.num_images)  # (N, 4)
        tiles = [_tile(metric.image_results[i], report.thresholds, outcomes[i]) for i in chosen]
        title = f"{len(tiles)} of {report.num_images} images, predictions at {_at(report)}"
        paths.append(out / "sheet.png")
        prediction_sheet(tiles, report.classes, title=title, path=paths[-1])
    return paths


def _at(report: LesionReport) -> str:
    return f"score >= {report.score_thr:.2f}" if report.class_thr is None else "each class's own threshold"


def _matrix_title(report: LesionReport) -> str:
    return (
        f"lesion level: IoU >= {report.iou_thr:g}, {_at(report)}\n"
        f"{int(report.table.lesions.sum())} lesions in {report.num_images} images"
    )


def write_predictions(
    results: list[ImageResult], path: Path, category_ids: Mapping[int, int] | None = None
) -> None:
    """Write all predictions, without a threshold, in COCO's results format (boxes xywh in pixels)."""
    entries = []
    for result in results:
        boxes = result.boxes
        xyxy = boxes.pred_bboxes.astype(np.float64)  # (P, 4)
        xywh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
        for label, box, score in zip(
            boxes.pred_labels.tolist(), xywh.tolist(), boxes.pred_scores.tolist(), strict=True
        ):
            category = label + 1 if category_ids is None else category_ids[label]
            entries.append({"image_id": result.img_id, "category_id": category, "bbox": box, "score": score})
    path.write_text(json.dumps(entries), encoding="utf-8")


def _outcomes(events: LesionEvents, score_thr: float, num_images: int) -> np.ndarray:
    """Counts ``(N, 4)`` per image: lesions named rightly, missed, named wrongly, over-detections."""
    thr = np.float32(score_thr)
    found = events.lesion_scores >= thr
    right = found & (events.lesion_preds == events.lesion_labels)
    kinds = (right, ~found, found & ~right)
    counts = [np.bincount(events.lesion_images[kind], minlength=num_images) for kind in kinds]
    counts.append(np.bincount(events.over_images[events.over_scores >= thr], minlength=num_images))
    return np.stack(counts, axis=1)


def choose_images(events: LesionEvents, score_thr: float, num_images: int, num: int) -> list[int]:
    """Indices of up to ``num`` images for a sheet, half of them without an error, half with errors.

    Evenly spaced within each kind, so the choice is the same at every call; where a kind has too few images,
    any others fill the sheet.
    """
    right, missed, confused, over = _outcomes(events, score_thr, num_images).T
    wrong = (missed > 0) | (confused > 0) | (over > 0)
    fine = np.flatnonzero((right > 0) & ~wrong)
    kinds = [np.flatnonzero(count > 0) for count in (missed, over, confused)]
    errors = _in_turns(*(_spread(kind, num) for kind in kinds))
    mixed = _in_turns(_spread(fine, -(-num // 2)), errors)
    return list(dict.fromkeys([*mixed, *range(num_images)]))[:num]


def _in_turns(*lists: list[int]) -> list[int]:
    """First of each list, then second of each, ...; each index once."""
    turns = [index for turn in zip_longest(*lists) for index in turn if index is not None]
    return list(dict.fromkeys(turns))


def _spread(indices: np.ndarray, num: int) -> list[int]:
    """Up to ``num`` of the indices, evenly spaced."""
    if len(indices) <= num:
        return indices.tolist()
    return indices[np.linspace(0, len(indices) - 1, num).round().astype(int)].tolist()


def _tile(result: ImageResult, score_thr: float | np.ndarray, outcome: np.ndarray) -> SheetTile:
    if result.img_path is None or not Path(result.img_path).is_file():
        raise DatasetError(
            f"the sheet needs image {result.img_path}, which is not there; put 'img_path' into meta_keys, "
            "or ask for no sheet (--sheet 0)"
        )
    boxes, shown, image = result.boxes, result.boxes.above(score_thr), read_image(result.img_path)
    return SheetTile(
        image=image if image.ndim == 2 else image[..., ::-1],
        gt_bboxes=boxes.gt_bboxes[~boxes.gt_ignore],
        gt_labels=boxes.gt_labels[~boxes.gt_ignore],
        pred_bboxes=boxes.pred_bboxes[shown],
        pred_labels=boxes.pred_labels[shown],
        pred_scores=boxes.pred_scores[shown],
        title=_tile_title(result, outcome),
    )


def _tile_title(result: ImageResult, outcome: np.ndarray) -> str:
    names = ("right", "missed", "wrong class", "over-detected")
    said = [f"{count} {name}" for count, name in zip(outcome, names, strict=True) if count]
    return f"{Path(result.img_path or '').name}: {', '.join(said) or 'nothing there, nothing found'}"
