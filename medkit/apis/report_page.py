"""The page about one tested run: headline, classes, confusion, curves, training, size and place, errors, label audit.

Command: ``python tools/report.py RUN``. Numbers come from medkit.evaluation, pictures from medkit.visualization.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medkit.apis.report_audit import Audit, Suspicion
from medkit.apis.report_errors import LesionError, confusions, false_positives, miss_map, misses, recall_by_size
from medkit.apis.report_runs import ScoredRun
from medkit.data.transforms.loading import read_image
from medkit.engine.curves import release_epochs
from medkit.evaluation.functional import FROC_RATES, RECALLS
from medkit.evaluation.report import LesionReport
from medkit.visualization import SheetTile, plot_confusion_matrix
from medkit.visualization.curves import plot_f1_confidence, plot_froc, plot_pr, plot_reliability
from medkit.visualization.galleries import GalleryItem, plot_gallery
from medkit.visualization.html import figure_html, page, picture_html, table_html, text_html
from medkit.visualization.training import plot_training
from medkit.visualization.where import plot_miss_map, plot_size_recall

__all__ = ["Headline", "headline", "number", "run_page"]

Headline = tuple[str, float, float, float]  # what, value, ends of its interval (nan: none)
NAN = float("nan")


def headline(report: LesionReport) -> list[Headline]:
    """The numbers that a paper prints first, with their intervals where there are any."""
    metrics = report.metrics()
    named = {"mAP": "coco/mAP", "AP50": "coco/mAP_50", "AP75": "coco/mAP_75", "APs": "coco/mAP_s", "APm": "coco/mAP_m",
             "APl": "coco/mAP_l", "precision, macro": "lesion/precision", "recall, macro": "lesion/recall",
             "F1, macro": "lesion/f1"}  # fmt: skip
    rows = [(said, metrics[name], *_interval(report, name)) for said, name in named.items()]
    if report.binary is not None:
        views = {"sensitivity, malignant, of detected": "sensitivity_detected", "specificity, of detected": "specificity_detected",
                 "sensitivity, malignant, of all": "sensitivity_all", "specificity, of all": "specificity_all"}  # fmt: skip
        rows += [(said, getattr(report.binary, n), *_interval(report, f"lesion/{n}")) for said, n in views.items()]
    return [*rows, ("FROC, mean sensitivity", report.froc.mean, NAN, NAN), ("calibration error (ECE)", report.calibration.ece, NAN, NAN)]


def _interval(report: LesionReport, name: str) -> tuple[float, float]:
    known = report.bootstrap is not None and name in report.bootstrap.draws
    return report.bootstrap.interval(name) if known and report.bootstrap is not None else (NAN, NAN)


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; '-' for nan and None."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _with_interval(value: float, low: float, high: float) -> str:
    return number(value) if math.isnan(low) else f"{number(value)} ({number(low)} to {number(high)})"


def run_page(run: ScoredRun, found: Audit | None = None, num_tiles: int = 12) -> str:
    """The whole page as html.

    Args:
        run: What `read_run` returned.
        found: Label audit; None leaves it out.
        num_tiles: Cut-outs in each gallery; 0 shows no images.
    """
    report = run.report
    subtitle = f"{report.num_images} images of {run.truth.ann_file.name}, {len(run.truth.gt_ids)} boxes; {run.name}"
    return page(
        f"{run.name}: {run.split}",
        subtitle,
        [
            ("Result", _result(report)),
            ("Classes", _classes(report)),
            ("Confusion", _confusion(report)),
            ("Curves", _curves(report)),
            ("Training", _training(run)),
            ("Size and place", _where(run)),
            ("Worst misses", _gallery(run, misses(report), num_tiles)),
            ("Worst false positives", _gallery(run, false_positives(report), num_tiles)),
            ("Confusions", _gallery(run, confusions(report), num_tiles)),
            ("Label audit", _audit(run, found, num_tiles)),
            ("How to read it", _method(report)),
        ],
    )


def _result(report: LesionReport) -> str:
    rows = [(said, number(value), "-" if math.isnan(low) else f"{number(low)} to {number(high)}")
            for said, value, low, high in headline(report)]  # fmt: skip
    thr = number(report.score_thr, 2) if report.class_thr is None else "one per class, see below"
    notes = text_html(f"Score threshold {thr}; {report.score_thr_from}.")
    if report.bootstrap is not None:
        taken = report.bootstrap.resampling
        notes += text_html(
            f"95 % intervals: percentiles of {taken.num_draws} bootstrap draws of {taken.unit}; the threshold is fixed.", True
        )
    return table_html(["metric", "value", "95 % interval"], rows) + notes


def _classes(report: LesionReport) -> str:
    columns = ("precision", "recall", "f1", "AP")
    rows = []
    for row in [*report.rows(), report.macro_row()]:
        main = [_with_interval(row[n], row.get(f"{n}_low", NAN), row.get(f"{n}_high", NAN)) for n in columns]
        rows.append([row["class"], row["lesions"], *main, row["misses"], row["over_detections"],
                     *(number(row[n]) for n in ("AP_s", "AP_m", "AP_l", "one_to_one_f1")), number(row["score_thr"], 2)])  # fmt: skip
    header = ["class", "lesions", "precision", "recall", "F1", "AP", "misses", "over-detections", "APs", "APm", "APl",
              "one-to-one F1", "threshold"]  # fmt: skip
    return table_html(header, rows, last_is_sum=True)


def _confusion(report: LesionReport) -> str:
    labels = ["None", *report.classes]
    totals = np.maximum(report.matrix.sum(axis=1, keepdims=True), 1)
    shares = report.matrix / totals  # (C+1, C+1)
    rows = [[name, *map(number, shares[i + 1]), int(report.matrix[i + 1].sum())] for i, name in enumerate(report.classes)]
    figure = plot_confusion_matrix(report.matrix, report.classes)
    return (
        figure_html(figure, "Lesion level: counts, and in per cent and colour the share of the true class")
        + text_html("Each row divided by its sum: what became of the lesions of a class.")
        + table_html(["truth", *(f"as {name}" if name != "None" else "missed" for name in labels), "lesions"], rows)
    )


def _curves(report: LesionReport) -> str:
    curves, free, whole = report.curves, report.froc, report.calibration
    marks = {"threshold": report.score_thr} if report.class_thr is None else dict(
        zip(report.classes, report.class_thr.tolist(), strict=True)
    )  # fmt: skip
    f1 = {**dict(zip(report.classes, curves.f1, strict=True)), "macro": curves.macro_f1}
    found = {"found": (free.curve_rates, free.curve_sensitivity), "found and named rightly": (free.rates, free.named_sensitivity)}
    classes = dict(zip(report.classes, report.coco.pr_50, strict=True))
    froc_rows = [["all lesions", *map(number, free.sensitivity)], ["named rightly", *map(number, free.named_sensitivity)]]
    froc_rows += [[n, *map(number, s)] for n, s in zip(report.classes, free.class_sensitivity, strict=True)]
    rates = [f"1/{round(1 / r)}" if r < 1 else f"{r:g}" for r in free.rates]
    return (
        '<div class="plots">\n'
        + figure_html(plot_pr(classes, RECALLS), "Precision-recall, COCO's rule at IoU 0.5")
        + figure_html(plot_f1_confidence(curves.thresholds, f1, marks), "F1 by score threshold, lesion level")
        + figure_html(plot_froc(found, FROC_RATES), "FROC: sensitivity by false positives per image, normal images counted")
        + figure_html(
            plot_reliability(whole.edges, whole.counts, whole.confidence, whole.accuracy),
            f"Reliability of the scores; expected calibration error {number(whole.ece)}",
        )
        + "</div>\n"
        + text_html("Sensitivity at false positives per image:")
        + table_html(["", *rates], froc_rows)
    )


def _training(run: ScoredRun) -> str:
    if not run.training:
        return ""
    releases = release_epochs(run.config)
    caption = "Losses and validation by epoch; dotted: stages of the backbone are released"
    released = ", ".join(f"{name} from epoch {epoch}" for epoch, name in releases)
    note = text_html(f"Stepwise: {released}.", True) if releases else ""
    return figure_html(plot_training(run.training, releases), caption if releases else "Losses and validation by epoch") + note


def _where(run: ScoredRun) -> str:
    sizes = [(image["width"], image["height"]) for image in run.truth.images]
    by_size = recall_by_size(run.report, sizes)
    bars = plot_size_recall(by_size.edges, by_size.found, by_size.low, by_size.high, by_size.named, by_size.counts)
    cells = plot_miss_map(*miss_map(run.report, sizes))
    return (
        '<div class="plots">\n'
        + figure_html(bars, "Recall by lesion size, bins of about equal number; 95 % intervals by patient")
        + figure_html(cells, "Where lesions lie in the image, and where they are missed (missed / lesions)")
        + "</div>\n"
    )


def _gallery(run: ScoredRun, errors: Sequence[LesionError], num: int) -> str:
    if not num or not errors:
        return "" if not num else text_html("None.")
    names = [*run.report.classes, "nothing"]  # -1 is nothing

    def said(one: LesionError) -> str:
        if one.kind == "miss":
            return f"{names[one.label]} missed; best {names[one.called]} {one.score:.2f}"
        what = names[one.called] if one.kind == "false positive" else f"{names[one.label]} called {names[one.called]}"
        return f"{what} {one.score:.2f}"

    return _pictures(run, errors[:num], said, f"{min(num, len(errors))} of {len(errors)}, the worst first; dashed: the box in question")


def _pictures(run: ScoredRun, shown: Sequence, said: Callable, caption: str) -> str:
    items = [GalleryItem(_tile(run, one.image, f"{Path(run.truth.images[one.image]['file_name']).name}\n{said(one)}"), one.bbox)
             for one in shown]  # fmt: skip
    return picture_html(plot_gallery(items, run.report.classes), caption)


def _tile(run: ScoredRun, position: int, title: str) -> SheetTile:
    boxes = run.report.matches.boxes
    image = read_image(run.truth.path(position))
    thr = np.broadcast_to(np.asarray(run.report.thresholds, np.float32), boxes.num_classes)[boxes.pred_labels]
    pred = (boxes.pred_images == position) & (boxes.pred_scores >= thr)
    gt = (boxes.gt_images == position) & ~boxes.gt_ignore
    return SheetTile(
        image if image.ndim == 2 else image[..., ::-1],
        boxes.gt_bboxes[gt],
        boxes.gt_labels[gt],
        boxes.pred_bboxes[pred].astype(np.float64),
        boxes.pred_labels[pred],
        boxes.pred_scores[pred],
        title,
    )


def _audit(run: ScoredRun, found: Audit | None, num: int) -> str:
    if found is None:
        return ""
    names = [*run.report.classes, "nothing"]
    kinds = (
        ("Suspected missing labels: sure predictions far from every label", found.missing, lambda s: f"{names[s.proposed]}?"),
        ("Suspected surplus labels: no run sees them", found.surplus, lambda s: f"{names[s.label]}?"),
        ("Suspected wrong classes", found.classes, lambda s: f"{names[s.label]}, or {names[s.proposed]}?"),
    )
    content = text_html("A list for a person to look at, not a correction. The files are named at the end of the page.")
    for heading, listed, said in kinds:
        content += text_html(f"{heading}: {len(listed)}")
        if listed and num:
            def title(one: Suspicion, said: Callable = said) -> str:
                return f"{said(one)} {one.suspicion:.2f}"

            content += _pictures(run, listed[:num], title, f"{min(num, len(listed))} of {len(listed)}, the strongest first")
    return content


def _method(report: LesionReport) -> str:
    return (
        text_html(
            f"Lesion level: a prediction touches a lesion at IoU {report.iou_thr:g} or more, whatever its class; the surest one "
            "names the lesion; a prediction that touches none is an over-detection. COCO: matching within the class at IoU "
            "0.5 to 0.95, at most 100 predictions per image and class. Macro: plain mean over the classes."
        )
        + text_html(
            "Beside this page: headline.csv, per_class.csv, confusion_matrix.csv, metrics.json, curves.npz, size.csv, "
            "place.csv, errors.csv; with the audit suspected_missing.json, suspected_labels.json, audit.csv."
        )
    )
