"""The page about one tested run: headline, classes, confusion, curves, training, size and place, errors, label audit.

Command: ``python tools/report.py RUN``. Numbers come from medkit.evaluation, pictures from medkit.visualization.
"""

from __future__ import annotations

import math

import numpy as np

from medkit.apis.report_audit import Audit
from medkit.apis.report_errors import confusions, false_positives, miss_map, misses, recall_by_size
from medkit.apis.report_galleries import audit_section, error_gallery
from medkit.apis.report_runs import ScoredRun
from medkit.engine.curves import release_epochs
from medkit.evaluation.functional import FROC_RATES, RECALLS
from medkit.evaluation.report import LesionReport
from medkit.visualization import plot_confusion_matrix
from medkit.visualization.curves import plot_f1_confidence, plot_froc, plot_pr, plot_reliability
from medkit.visualization.html import figure_html, page, table_html, text_html
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
        for which in ("detected", "all"):
            for rate in ("sensitivity", "specificity"):
                value, ends = getattr(report.binary, f"{rate}_{which}"), _interval(report, f"lesion/{rate}_{which}")
                rows.append((f"{rate} for malignant, {which} lesions", value, *ends))
    more = {"FROC, mean sensitivity": report.froc.mean, "calibration error (ECE)": report.calibration.ece}
    return [*rows, *((said, value, NAN, NAN) for said, value in more.items())]


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
            ("Worst misses", error_gallery(run, misses(report), num_tiles)),
            ("Worst false positives", error_gallery(run, false_positives(report), num_tiles)),
            ("Confusions", error_gallery(run, confusions(report), num_tiles)),
            ("Label audit", audit_section(run, found, num_tiles)),
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
            f"95 % intervals: percentiles of {taken.num_draws} bootstrap draws of {taken.unit}, the threshold fixed.",
            note=True,
        )
    return table_html(["metric", "value", "95 % interval"], rows) + notes


def _classes(report: LesionReport) -> str:
    columns = ("precision", "recall", "f1", "AP")
    rows = []
    for row in [*report.rows(), report.macro_row()]:
        main = [_with_interval(row[n], row.get(f"{n}_low", NAN), row.get(f"{n}_high", NAN)) for n in columns]
        others = [number(row[name]) for name in ("AP_s", "AP_m", "AP_l", "one_to_one_f1")]
        counts = [row["misses"], row["over_detections"]]
        rows.append([row["class"], row["lesions"], *main, *counts, *others, number(row["score_thr"], 2)])
    header = ["class", "lesions", "precision", "recall", "F1", "AP", "misses", "over-detections", "APs", "APm", "APl",
              "one-to-one F1", "threshold"]  # fmt: skip
    return table_html(header, rows, last_is_sum=True)


def _confusion(report: LesionReport) -> str:
    labels = ["None", *report.classes]
    totals = np.maximum(report.matrix.sum(axis=1, keepdims=True), 1)
    shares = report.matrix / totals  # (C+1, C+1)
    rows = [
        [name, *map(number, share), int(counts.sum())]
        for name, share, counts in zip(report.classes, shares[1:], report.matrix[1:], strict=True)
    ]
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
    found = {"found": (free.curve_rates, free.curve_sensitivity)}
    found["found and named rightly"] = (free.rates, free.named_sensitivity)
    classes = dict(zip(report.classes, report.coco.pr_50, strict=True))
    return (
        '<div class="plots">\n'
        + figure_html(plot_pr(classes, RECALLS), "Precision-recall, COCO's rule at IoU 0.5")
        + figure_html(plot_f1_confidence(curves.thresholds, f1, marks), "F1 by score threshold, lesion level")
        + figure_html(plot_froc(found, FROC_RATES), "FROC: sensitivity by false positives per image (all images)")
        + figure_html(
            plot_reliability(whole.edges, whole.counts, whole.confidence, whole.accuracy),
            f"Reliability of the scores; expected calibration error {number(whole.ece)}",
        )
        + "</div>\n"
        + text_html("Sensitivity at false positives per image:")
        + _froc_table(report)
    )


def _froc_table(report: LesionReport) -> str:
    free = report.froc
    sensitivities = {"all lesions": free.sensitivity, "named rightly": free.named_sensitivity}
    sensitivities |= dict(zip(report.classes, free.class_sensitivity, strict=True))
    rates = [f"1/{round(1 / r)}" if r < 1 else f"{r:g}" for r in free.rates]
    return table_html(["", *rates], [[name, *map(number, values)] for name, values in sensitivities.items()])


def _training(run: ScoredRun) -> str:
    if not run.training:
        return ""
    releases = release_epochs(run.config)
    caption = "Losses and validation by epoch" + "; dotted: stages of the backbone are released" * bool(releases)
    released = ", ".join(f"{name} from epoch {epoch}" for epoch, name in releases)
    note = text_html(f"Stepwise: {released}.", note=True) if releases else ""
    return figure_html(plot_training(run.training, releases), caption) + note


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


def _method(report: LesionReport) -> str:
    rules = (
        f"Lesion level: a prediction touches a lesion at IoU {report.iou_thr:g} or more, whatever its class; the "
        "surest one names the lesion; a prediction that touches none is an over-detection. COCO: matching within the "
        "class at IoU 0.5 to 0.95, at most 100 predictions per image and class. Macro: plain mean over the classes."
    )
    files = (
        "Beside this page: headline.csv, per_class.csv, confusion_matrix.csv, metrics.json, curves.npz, size.csv, "
        "place.csv, errors.csv, figures/; with the audit suspected_missing.json, suspected_labels.json, audit.csv."
    )
    return text_html(rules) + text_html(files)
