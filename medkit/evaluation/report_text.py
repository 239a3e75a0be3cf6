"""A report as text for the terminal and the log: COCO line, per-class table, threshold, two-class view."""

from __future__ import annotations

import math

from .functional import BinaryView, Bootstrap
from .report import LesionReport
from .tables import LEVEL

__all__ = ["coco_line", "report_text"]

COCO_NAMES = {
    "mAP": "mAP",
    "mAP_50": "AP50",
    "mAP_75": "AP75",
    "mAP_s": "APs",
    "mAP_m": "APm",
    "mAP_l": "APl",
}


def coco_line(report: LesionReport) -> str:
    """The six COCO numbers in one line; '-' where there is no ground truth."""
    numbers = (f"{COCO_NAMES[name]} {_number(value)}" for name, value in report.coco.headline().items())
    return "COCO bbox  " + "  ".join(numbers)


def report_text(report: LesionReport) -> str:
    """COCO line, per-class table with a macro row, threshold and where it came from, two-class view."""
    strict = report.one_to_one
    lines = [
        coco_line(report),
        "",
        *_table(report),
        "",
        f"lesion-level protocol: IoU >= {report.iou_thr:g}, {_threshold(report)}, "
        f"{report.num_images} images; threshold {report.score_thr_from}",
        "one-to-one protocol (COCO matching at IoU 0.5, same threshold): macro precision "
        f"{_number(strict.macro_precision)}, recall {_number(strict.macro_recall)}, "
        f"F1 {_number(strict.macro_f1)}",
    ]
    if report.binary is not None:
        lines.append(_binary_line(report.binary))
    lines.append(_froc_line(report))
    if report.bootstrap is not None:
        lines.append(_interval_line(report.bootstrap))
    return "\n".join(lines + _remarks(report))


def _table(report: LesionReport) -> list[str]:
    width = max(len("macro"), *map(len, report.classes))
    header = (
        f"{'class':<{width}}{'lesions':>9}{'precision':>11}{'recall':>9}{'F1':>9}{'misses':>9}"
        f"{'over-detections':>17}{'AP':>9}"
    )
    rows = [
        f"{row['class']:<{width}}{row['lesions']:>9}{_number(row['precision']):>11}{_number(row['recall']):>9}"
        f"{_number(row['f1']):>9}{row['misses']:>9}{row['over_detections']:>17}{_number(row['AP']):>9}"
        for row in [*report.rows(), report.macro_row()]
    ]
    rule = "-" * len(header)
    return [header, rule, *rows[:-1], rule, rows[-1]]


def _binary_line(view: BinaryView) -> str:
    return (
        f"malignant against benign: sensitivity {_number(view.sensitivity_detected)}, specificity "
        f"{_number(view.specificity_detected)} among detected lesions; {_number(view.sensitivity_all)}, "
        f"{_number(view.specificity_all)} with missed lesions counted as not called malignant"
    )


def _threshold(report: LesionReport) -> str:
    if report.class_thr is None:
        return f"score >= {report.score_thr:.2f}"
    return "score >= " + ", ".join(f"{n} {t:.3f}" for n, t in zip(report.classes, report.class_thr, strict=True))


def _froc_line(report: LesionReport) -> str:
    found = dict(zip(report.froc.rates.tolist(), report.froc.sensitivity.tolist(), strict=True))
    return (
        f"FROC (touched by any class): mean sensitivity {_number(report.froc.mean)}, {_number(found[1.0])} at 1 false "
        f"positive per image; calibration error (ECE) at the threshold {_number(report.calibration_kept.ece)}"
    )


def _interval_line(bootstrap: Bootstrap) -> str:
    names = {"macro F1": "lesion/f1", "mAP": "coco/mAP", "AP50": "coco/mAP_50"}
    ends = {name: bootstrap.interval(metric, LEVEL) for name, metric in names.items()}
    said = ", ".join(f"{name} {_number(low)} to {_number(high)}" for name, (low, high) in ends.items())
    taken = bootstrap.resampling
    return f"{LEVEL:.0%} intervals: {said} ({taken.num_draws} bootstrap draws of {taken.unit}; the threshold is fixed)"


def _remarks(report: LesionReport) -> list[str]:
    absent = [name for name, count in zip(report.classes, report.table.lesions, strict=True) if count == 0]
    remarks = []
    if absent:
        remarks.append(f"no lesion of {', '.join(absent)} in this set: 0 in the macro means, left out of mAP")
    if not report.informative:
        remarks.append(
            "F1 is 0 at every threshold: no lesion was ever named rightly; do not ship this threshold"
        )
    return remarks


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
