"""LesionMetric: the lesion-level protocol of the liver report beside COCO AP, in one mmengine metric.

In a config::

    val_evaluator = dict(type='medkit.LesionMetric')

and the validation pipeline ends in ``PackDetInputs`` with ``'instances'`` among its ``meta_keys``.
Commands: tools/train.py (each validation), tools/test.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from medkit.errors import ConfigError, MedkitError
from medkit.evaluation.functional import ImageBoxes
from medkit.evaluation.report import LesionReport, build_report
from medkit.evaluation.report_text import report_text
from medkit.registry import METRICS

__all__ = ["ImageResult", "LesionMetric"]


NO_PATIENT = "no-id:"  # data_prep's mark of an image whose patient is not known


@dataclass(frozen=True)
class ImageResult:
    """What is kept of one image: its boxes as arrays, and where it came from."""

    boxes: ImageBoxes
    img_id: int | str | None
    img_path: str | None
    ori_shape: tuple[int, int] | None


@METRICS.register_module()
class LesionMetric(BaseMetric):
    """Precision, recall and F1 per class at lesion level, confusion matrix, and COCO AP.

    Keys: ``coco/mAP``, ``coco/mAP_50``, ``_75``, ``_s``, ``_m``, ``_l``, ``coco/AP_<class>`` (fractions,
    unrounded, at most 100 predictions per image and class), ``lesion/precision``, ``lesion/recall``,
    ``lesion/f1`` (macro), ``lesion/f1_<class>``, ``lesion/score_thr``. After `evaluate`, ``report`` and
    ``image_results`` hold the details on the main process (None and empty on the others).

    Args:
        classes: Class names; default ``dataset_meta['classes']``.
        iou_thr: Smallest IoU at which a prediction touches a lesion.
        score_thr: Threshold in [0, 1], or a dict of one per class name. None or 'grid' chooses it on the set that
            is scored, by macro F1, and says that the result is optimistic.
        score_thr_from: Where a fixed threshold came from; only repeated in the text.
        malignant: Malignant classes of the two-class view; None takes HCC, metastasis and malignant where
            they exist.
        out_dir: Folder for metrics.json, per_class.csv, confusion_matrix.csv and curves.npz; None writes nothing.
        num_draws: Draws of the bootstrap that gives intervals; 0, as while training, gives none.
        ann_file: Annotation file whose images carry ``patient_id``, so that patients are resampled; None
            resamples images.
        coco_backend: What computes COCO's AP: 'medkit' or 'pycocotools'; the numbers are the same.
        collect_device: 'cpu' or 'gpu', as in mmengine.
        collect_dir: Shared folder for results of all ranks, as in mmengine.

    Raises:
        ConfigError: Bad threshold, unknown malignant class, no class names, or samples without ``instances``.
        MedkitError: The model predicted nan or infinity.
    """

    default_prefix = ""  # the keys carry their own prefixes

    def __init__(
        self,
        classes: Sequence[str] | None = None,
        iou_thr: float = 0.25,
        score_thr: float | Mapping[str, float] | str | None = None,
        score_thr_from: str = "",
        malignant: Sequence[str] | None = None,
        out_dir: str | Path | None = None,
        num_draws: int = 0,
        ann_file: str | Path | None = None,
        coco_backend: str = "medkit",
        collect_device: str = "cpu",
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        self.classes = None if classes is None else tuple(classes)
        self.iou_thr = _fraction("iou_thr", iou_thr)
        self.score_thr = _score_thr(score_thr)
        self.score_thr_from = score_thr_from
        self.malignant = malignant
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.num_draws = num_draws
        self.ann_file = ann_file
        self.coco_backend = coco_backend
        self.report: LesionReport | None = None
        self.image_results: list[ImageResult] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the boxes of a batch as arrays."""
        num_classes = len(self._class_names())
        self.results.extend(_image_result(sample, num_classes) for sample in data_samples)

    def compute_metrics(self, results: list[ImageResult]) -> dict[str, float]:
        """Evaluate, log the table, write the files; runs on the main process only."""
        self.report = build_report(
            [result.boxes for result in results],
            self._class_names(),
            iou_thr=self.iou_thr,
            score_thr=self._thresholds(),
            score_thr_from=self.score_thr_from,
            malignant=self.malignant,
            patients=_patients(results, self.ann_file) if self.num_draws else None,
            num_draws=self.num_draws,
            coco_backend=self.coco_backend,
        )
        self.image_results = list(results)
        print_log("\n" + report_text(self.report), logger="current")
        if self.out_dir is not None:
            self.report.write(self.out_dir)
        return self.report.metrics()

    def rescore(self, score_thr: float | Mapping[str, float], score_thr_from: str) -> None:
        """Evaluate the same predictions at another threshold; on the main process, after `evaluate`."""
        self.score_thr, self.score_thr_from = _score_thr(score_thr), score_thr_from
        self.compute_metrics(self.image_results)

    def _thresholds(self) -> float | list[float] | None:
        """The threshold, or those of the classes in their order."""
        if not isinstance(self.score_thr, dict):
            return self.score_thr
        classes = self._class_names()
        if set(classes) != set(self.score_thr):
            raise ConfigError(
                f"LesionMetric: score_thr has thresholds for {sorted(self.score_thr)}, but the classes are "
                f"{sorted(classes)}; give one for each, or one number for all"
            )
        return [self.score_thr[name] for name in classes]

    def _class_names(self) -> tuple[str, ...]:
        classes = self.classes or (self.dataset_meta or {}).get("classes")
        if not classes:
            raise ConfigError(
                "LesionMetric knows no class names: the data set has no metainfo['classes']; "
                "set `classes` of LesionMetric or metainfo=dict(classes=(...)) of the data set"
            )
        return tuple(classes)


def _score_thr(value: float | Mapping[str, float] | str | None) -> float | dict[str, float] | None:
    if value is None or value == "grid":
        return None
    if isinstance(value, Mapping):
        return {name: _fraction(f"score_thr of {name}", one) for name, one in value.items()}
    return _fraction("score_thr", value)


def _patients(results: Sequence[ImageResult], ann_file: str | Path | None) -> list[str | None] | None:
    """Patient of each image as the annotation file has it; None where it has none."""
    if ann_file is None:
        return None
    images = json.loads(Path(ann_file).read_text(encoding="utf-8"))["images"]
    patient_of = {image["id"]: str(image.get("patient_id") or "") for image in images}
    found = [patient_of.get(result.img_id, "") for result in results]
    return [None if not name or name.startswith(NO_PATIENT) else name for name in found]


def _fraction(name: str, value: Any) -> float:
    if isinstance(value, (str, bool)) or not 0 <= value <= 1:
        raise ConfigError(
            f"LesionMetric: {name}={value!r}, expected a number in [0, 1]; correct the evaluator"
        )
    return float(value)


def _array(value: Any) -> np.ndarray:
    return value.detach().float().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _image_result(sample: dict, num_classes: int) -> ImageResult:
    if "instances" not in sample:
        raise ConfigError(
            "LesionMetric got a sample without ground truth ('instances' is missing); add 'instances' to the "
            "meta_keys of PackDetInputs, after LoadAnnotations, in the pipelines of validation and test"
        )
    preds, instances = sample["pred_instances"], sample["instances"]
    gt_bboxes = np.array([i["bbox"] for i in instances], dtype=np.float64).reshape(-1, 4)
    sides = gt_bboxes[:, 2:] - gt_bboxes[:, :2]
    boxes = ImageBoxes.create(
        _array(preds["bboxes"]),
        _array(preds["scores"]),
        _array(preds["labels"]),
        gt_bboxes,
        [i["bbox_label"] for i in instances],
        gt_ignore=[bool(i.get("ignore_flag", 0)) for i in instances],
        gt_areas=[i.get("area", side[0] * side[1]) for i, side in zip(instances, sides, strict=True)],
    )
    name = sample.get("img_path") or sample.get("img_id")
    _check(boxes, num_classes, name)
    return ImageResult(boxes, sample.get("img_id"), sample.get("img_path"), sample.get("ori_shape"))


def _check(boxes: ImageBoxes, num_classes: int, name: Any) -> None:
    if not (np.isfinite(boxes.pred_bboxes).all() and np.isfinite(boxes.pred_scores).all()):
        raise MedkitError(
            f"the model predicted nan or infinity for {name}, so its weights are spoilt; go back to an "
            "earlier checkpoint and lower the learning rate or clip the gradients"
        )
    for what, labels in (("predicted", boxes.pred_labels), ("annotated", boxes.gt_labels)):
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ConfigError(
                f"{what} labels of {name} run from {labels.min()} to {labels.max()}, but there are "
                f"{num_classes} classes; make num_classes of the head and the classes of the data set and of "
                "LesionMetric agree"
            )
