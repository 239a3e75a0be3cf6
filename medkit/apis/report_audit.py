"""Label audit: boxes that detectors see and the file lacks, boxes it has and no detector sees, and doubtful classes.

A detector that has learnt from mostly right labels disagrees with wrong ones (Northcutt et al., "Confident Learning",
JAIR 2021, for classes). What it is sure of is listed for a human to look at; nothing is corrected here. A missing box
is the more likely the more often images of the same diagnosis hold that class: a dark spot that looks like a cyst is
a gallbladder rather than a lesion where the patient has metastases.
Command: ``python tools/report.py RUN --audit``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkit.apis.report_runs import GroundTruth, ScoredRun
from medkit.errors import DatasetError
from medkit.evaluation.functional import Matches, Thresholds
from medkit.evaluation.functional.boxes import box_iou
from medkit.evaluation.tables import write_csv

__all__ = ["Audit", "Suspicion", "audit", "audit_runs", "precision_at", "write_audit"]

SAME_SPOT = 0.25  # IoU at which two predictions mean one lesion
NEAR_LABEL = 0.1  # IoU with a label from which a prediction is a badly placed box, and no missing label


@dataclass(frozen=True)
class Suspicion:
    """One label to look at again.

    Attributes:
        kind: 'missing' (a box is to be added), 'surplus' (no detector sees this box), 'class' (another class).
        suspicion: In [0, 1]; comparable within a kind.
        image: Position of the image.
        bbox: ``(4,)`` xyxy in pixels.
        label: Class in the file; -1 where the box is missing.
        proposed: Class that the detectors see; -1 for none.
        gt_id: Id of the annotation; None where it is missing.
        runs: Runs that say so at their threshold.
    """

    kind: str
    suspicion: float
    image: int
    bbox: np.ndarray
    label: int
    proposed: int
    gt_id: int | None
    runs: int


@dataclass(frozen=True)
class Audit:
    """Suspicions of each kind, the strongest first; ``support`` ``(L,)`` of each lesion's own label."""

    missing: list[Suspicion]
    surplus: list[Suspicion]
    classes: list[Suspicion]
    gt_ids: list[int]
    support: np.ndarray


def audit_runs(runs: Sequence[ScoredRun]) -> Audit:
    """Audit the labels that all runs were scored on."""
    first = runs[0].truth
    for run in runs[1:]:
        if run.truth.content != first.content:
            raise DatasetError(
                f"{run.name} was scored on {run.truth.ann_file}, {runs[0].name} on {first.ann_file}, which differ; "
                "audit runs that were tested on the same annotation file"
            )
    matches, thresholds = [run.report.matches for run in runs], [run.report.thresholds for run in runs]
    return audit(matches, thresholds, first.gt_ids, class_priors(first))


def class_priors(truth: GroundTruth) -> np.ndarray:
    """``(N, C)`` share of the images with an image's diagnosis that hold a box of each class, after the labels.

    One image more is counted, with the classes as often as in the whole set, so that no share is 0. Without
    diagnoses in the file all are 1.
    """
    groups = [str(image.get("diagnosis") or "") for image in truth.images]
    if not any(groups):
        return np.ones((len(groups), len(truth.classes)))
    holds = np.zeros((len(groups), len(truth.classes)))  # (N, C)
    for row, entries in zip(holds, truth.boxes, strict=True):
        row[[truth.labels[entry["category_id"]] for entry in entries]] = 1
    _, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((group.max() + 1, len(truth.classes)))
    np.add.at(sums, group, holds)
    shares = (sums + holds.mean(axis=0)) / (np.bincount(group)[:, None] + 1)
    return shares[group]


def audit(
    matches: Sequence[Matches],
    thresholds: Sequence[Thresholds],
    gt_ids: Sequence[int],
    priors: np.ndarray | None = None,
) -> Audit:
    """Find suspected label errors.

    Args:
        matches: For each run, the one matching pass over the same images and labels.
        thresholds: For each run, its score threshold, or thresholds ``(C,)``.
        gt_ids: Annotation id of each ground-truth box, in the order of the boxes.
        priors: ``(N, C)`` how likely each image holds each class, see `class_priors`; the suspicion of a missing
            box is the score times this.
    """
    if priors is None:
        priors = np.ones((matches[0].num_images, matches[0].num_classes))
    events, boxes = matches[0].events, matches[0].boxes
    own = np.mean([_support(one, own_class=True) for one in matches], axis=0)  # (L,)
    other = np.mean([_support(one, own_class=False) for one in matches], axis=0)
    called = np.array([one.events.called(thr) for one, thr in zip(matches, thresholds, strict=True)])  # (runs, L)
    missed = (called < 0).sum(axis=0)
    wrong = ((called >= 0) & (called != events.lesion_labels)).sum(axis=0)
    seen_as = np.sum([_class_support(one) for one in matches], axis=0).argmax(axis=1)  # (L,)

    def of_lesion(kind: str, i: int, value: float, votes: int, proposed: int) -> Suspicion:
        gt = events.lesion_gts[i]
        return Suspicion(kind, float(value), int(events.lesion_images[i]), boxes.gt_bboxes[gt],
                         int(events.lesion_labels[i]), proposed, gt_ids[gt], int(votes))  # fmt: skip

    number = len(matches)
    never, always = np.flatnonzero(missed == number), np.flatnonzero((wrong == number) & (other > own))
    surplus = [of_lesion("surplus", i, 1 - max(own[i], other[i]), number, -1) for i in never]
    classes = [of_lesion("class", i, other[i] - own[i], number, int(seen_as[i])) for i in always]
    lesion_ids = [gt_ids[gt] for gt in events.lesion_gts]
    return Audit(_missing(matches, thresholds, priors), _ranked(surplus), _ranked(classes), lesion_ids, own)


def _class_support(matches: Matches) -> np.ndarray:
    """Score ``(L, C)`` of each lesion's best candidate of each class; 0 without one."""
    return np.maximum(matches.events.class_scores, 0).astype(np.float64)


def _support(matches: Matches, own_class: bool) -> np.ndarray:
    """Highest score ``(L,)`` among the candidates of a lesion's own class, or among the others; 0 without one."""
    scores = _class_support(matches)
    own = np.arange(scores.shape[1]) == matches.events.lesion_labels[:, None]
    return np.where(own == own_class, scores, 0).max(axis=1, initial=0)


def _missing(matches: Sequence[Matches], thresholds: Sequence[Thresholds], priors: np.ndarray) -> list[Suspicion]:
    """Confident predictions far from every label; those of one spot, of whatever class and run, are one suspicion."""
    pooled = [_unlabelled(one) for one in matches]
    bboxes = np.concatenate([one.boxes.pred_bboxes[keep] for one, keep in zip(matches, pooled, strict=True)])
    scores, labels, images = (
        np.concatenate([getattr(one.boxes, f"pred_{name}")[keep] for one, keep in zip(matches, pooled, strict=True)])
        for name in ("scores", "labels", "images")
    )
    source = np.repeat(np.arange(len(matches)), [len(keep) for keep in pooled])
    limits = np.array([np.broadcast_to(thr, matches[0].num_classes) for thr in thresholds])  # (runs, C)
    sure = scores >= limits[source, labels].astype(np.float32)
    scores = scores * priors[images, labels]
    found: list[Suspicion] = []
    for image in np.unique(images[sure]):
        free = np.flatnonzero(images == image)
        free = free[np.lexsort((free, -scores[free]))]
        while len(free):
            here = box_iou(bboxes[free[:1]], bboxes[free])[0] >= SAME_SPOT
            here[0] = True  # a box without area overlaps nothing, itself included
            spot, free = free[here], free[~here]
            head, votes = spot[0], np.unique(source[spot[sure[spot]]])
            if len(votes):
                best = [scores[spot[source[spot] == run]].max(initial=0) for run in range(len(matches))]
                found.append(Suspicion("missing", float(np.mean(best)), int(image), bboxes[head].astype(np.float64), -1,
                                       int(labels[head]), None, len(votes)))  # fmt: skip
    return _ranked(found)


def _unlabelled(matches: Matches) -> np.ndarray:
    """Indices of the predictions that no label, and no crowd region, is near."""
    near = np.zeros(len(matches.boxes.pred_scores), bool)
    near[matches.overlaps.preds[matches.overlaps.ious >= NEAR_LABEL]] = True
    return np.flatnonzero(~near)


def _ranked(found: list[Suspicion]) -> list[Suspicion]:
    return sorted(found, key=lambda one: (-one.suspicion, one.image, tuple(one.bbox.tolist())))


def precision_at(suspicions: Sequence[Suspicion], hidden: dict[int, np.ndarray], ks: Sequence[int]) -> dict[int, float]:
    """Share of the first k suspicions that lie on a box known to be missing.

    Args:
        suspicions: Ranked; each counts once.
        hidden: Position of an image -> boxes ``(n, 4)`` xyxy that its labels lack.
        ks: Where to read; those beyond the number of suspicions are left out.
    """
    right = [
        one.image in hidden and bool((box_iou(one.bbox[None], hidden[one.image]) >= SAME_SPOT).any())
        for one in suspicions
    ]
    return {k: float(np.mean(right[:k])) for k in ks if 0 < k <= len(right)}


def write_audit(found: Audit, truth: GroundTruth, out: Path) -> list[Path]:
    """Write suspected_missing.json, suspected_labels.json (both COCO) and audit.csv; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    header = ["rank", "kind", "suspicion", "runs", "file_name", "x", "y", "width", "height", "label", "proposed",
              "annotation_id"]  # fmt: skip
    named = [*truth.classes, ""]  # -1 is none
    rows = [
        [rank, one.kind, f"{one.suspicion:.4f}", one.runs, truth.images[one.image]["file_name"],
         *(f"{value:.1f}" for value in _xywh(one.bbox)), named[one.label], named[one.proposed], one.gt_id]
        for listed in (found.missing, found.surplus, found.classes)
        for rank, one in enumerate(listed, 1)
    ]  # fmt: skip
    paths = [out / "suspected_missing.json", out / "suspected_labels.json"]
    for path, content in zip(paths, (_missing_coco(found, truth), _labels_coco(found, truth)), strict=True):
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return [*paths, write_csv(out / "audit.csv", [header, *rows])]


def _xywh(bbox: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = bbox.tolist()
    return [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]


def _missing_coco(found: Audit, truth: GroundTruth) -> dict:
    """The proposed boxes alone, with the images that they are on."""
    shown = {one.image for one in found.missing}
    annotations = []
    for number, one in enumerate(found.missing, 1):
        box = _xywh(one.bbox)
        annotations.append(
            {"id": number, "image_id": truth.images[one.image]["id"], "category_id": truth.category_ids[one.proposed],
             "bbox": box, "area": box[2] * box[3], "iscrowd": 0, "suspicion": round(one.suspicion, 6), "runs": one.runs}
        )  # fmt: skip
    images = [image for position, image in enumerate(truth.images) if position in shown]
    return {"images": images, "annotations": annotations, "categories": truth.content["categories"]}


def _labels_coco(found: Audit, truth: GroundTruth) -> dict:
    """The file as it is; ``suspicion`` of an annotation is 1 less the score that its own class gets at its place."""
    support = dict(zip(found.gt_ids, found.support.tolist(), strict=True))
    kinds = {one.gt_id: one.kind for one in (*found.surplus, *found.classes)}
    annotations = []
    for entry in truth.content["annotations"]:
        known = support.get(entry["id"])
        more = {} if known is None else {"suspicion": round(1 - known, 6), "suspected": kinds.get(entry["id"], "")}
        annotations.append(entry | more)
    return truth.content | {"annotations": annotations}
