"""Galleries of a report page: the errors and the suspected label errors of a run, cut out of their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medkit.apis.report_audit import Audit, Suspicion
from medkit.apis.report_errors import LesionError
from medkit.apis.report_runs import ScoredRun
from medkit.data.transforms.loading import read_image
from medkit.visualization import SheetTile
from medkit.visualization.galleries import GalleryItem, plot_gallery
from medkit.visualization.html import picture_html, text_html

__all__ = ["audit_section", "error_gallery"]


def error_gallery(run: ScoredRun, errors: Sequence[LesionError], num: int) -> str:
    """Cut-outs of the first ``num`` errors; empty for 0."""
    if not num or not errors:
        return "" if not num else text_html("None.")
    names = [*run.report.classes, "nothing"]  # -1 is nothing
    kinds = {"miss": "Misses", "false positive": "False positives", "confusion": "Confusions"}

    def said(one: LesionError) -> str:
        if one.kind == "miss":
            best = f"best: {names[one.called]} {one.score:.2f}" if one.called >= 0 else "no candidate"
            return f"{names[one.label]} missed; {best}"
        what = names[one.called] if one.kind == "false positive" else f"{names[one.label]} called {names[one.called]}"
        return f"{what} {one.score:.2f}"

    kind = kinds[errors[0].kind]
    caption = f"{kind}: {min(num, len(errors))} of {len(errors)}, the worst first; dashed: the box in question"
    return _pictures(run, errors[:num], said, caption)


def _pictures(run: ScoredRun, shown: Sequence, said: Callable, caption: str) -> str:
    titles = [f"{Path(run.truth.images[one.image]['file_name']).name}\n{said(one)}" for one in shown]
    items = [GalleryItem(_tile(run, one.image, title), one.bbox) for one, title in zip(shown, titles, strict=True)]
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


def audit_section(run: ScoredRun, found: Audit | None, num: int) -> str:
    """Counts and cut-outs of the suspected label errors; empty without an audit."""
    if found is None:
        return ""
    names = [*run.report.classes, "nothing"]
    kinds = {
        "Suspected missing labels": found.missing,  # sure predictions far from every label
        "Suspected surplus labels": found.surplus,  # no run sees them
        "Suspected wrong classes": found.classes,
    }

    def said(one: Suspicion) -> str:
        seen = [names[label] for label in (one.label, one.proposed) if label >= 0]
        return f"{' or '.join(seen)}? {one.suspicion:.2f}"

    content = text_html(
        "A list for a person to look at, not a correction. Missing: sure predictions far from every label; surplus: "
        "labels that no run sees; wrong: lesions that all runs call otherwise. Their files are named at the end."
    )
    for heading, listed in kinds.items():
        if listed and num:
            caption = f"{heading}: {min(num, len(listed))} of {len(listed)}, the strongest first"
            content += _pictures(run, listed[:num], said, caption)
        else:
            content += text_html(f"{heading}: {len(listed)}")
    return content
