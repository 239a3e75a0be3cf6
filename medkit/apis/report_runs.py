"""A tested run, read back from its folder: config, ground truth, predictions, and everything recomputed from them.

No forward pass: predictions.json, metrics.json and the resolved config that tools/test.py left are enough.
Used by tools/report.py.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict

from medkit.data.checks import dataset_configs
from medkit.data.lesion_dataset import map_categories, read_coco
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional import ImageBoxes
from medkit.evaluation.metrics.lesion_metric import NO_PATIENT
from medkit.evaluation.report import LesionReport, build_report

__all__ = ["GroundTruth", "ScoredRun", "read_ground_truth", "read_run", "score_predictions"]


@dataclass(frozen=True)
class GroundTruth:
    """The annotated images of a set, in the order in which they were scored.

    ``gt_ids`` has the annotation id of each box, image by image; ``category_ids`` maps a label to the (first)
    category id that stands for it in the file and in predictions.json.
    """

    ann_file: Path
    image_dir: Path
    content: dict
    classes: tuple[str, ...]
    images: list[dict]
    boxes: list[list[dict]]
    gt_ids: list[int]
    labels: dict[int, int]
    category_ids: dict[int, int]

    @property
    def patients(self) -> list[str | None]:
        """Patient of each image; None where the file names none, or says that none is known."""
        known = [str(image.get("patient_id") or "") for image in self.images]
        return [None if not patient or patient.startswith(NO_PATIENT) else patient for patient in known]

    def path(self, image: int) -> Path:
        """File of the image at a position."""
        return self.image_dir / self.images[image]["file_name"]


@dataclass(frozen=True)
class ScoredRun:
    """A run with its results on one split; ``config`` is what it was trained with, ``training`` its metrics.csv."""

    name: str
    folder: Path
    split: str
    config: Config
    truth: GroundTruth
    report: LesionReport
    training: list[dict[str, float | str]]


def read_run(
    folder: str | Path,
    split: str = "test",
    data_root: str | Path | None = None,
    num_draws: int = 1000,
    name: str | None = None,
) -> ScoredRun:
    """Read a run folder, or the folder of its results.

    Args:
        folder: Run folder with ``<split>/predictions.json`` in it; or a folder that holds predictions.json.
        split: Name of the folder of results.
        data_root: Where the prepared data set is now; default: where the config says.
        num_draws: Bootstrap draws of the intervals; 0 for none.
        name: What to call the run; default the name of its folder.

    Raises:
        ConfigError: nothing was tested there, or no config is left.
        DatasetError: the annotation file is not there, or is no longer the one that was scored.
    """
    folder = Path(folder)
    results = folder if (folder / "predictions.json").is_file() else folder / split
    run_dir = results.resolve().parent
    stored = _stored_metrics(folder, results)
    tested, trained = _newest_config(results), _newest_config(run_dir)
    found = tested or trained
    if found is None:
        raise ConfigError(f"{results} and {run_dir} hold no config (*.py); test the run again with tools/test.py")
    dataset = dataset_configs(found)["test_dataloader" if tested is not None else f"{split}_dataloader"][0]
    truth = read_ground_truth(dataset, data_root)
    predictions = json.loads((results / "predictions.json").read_text(encoding="utf-8"))
    report = score_predictions(truth, predictions, stored, _malignant(found), num_draws)
    _check_same(report, stored, results, truth.ann_file)
    training = read_table(run_dir / "metrics.csv")
    return ScoredRun(name or run_dir.name, run_dir, results.name, trained or found, truth, report, training)


def _stored_metrics(folder: Path, results: Path) -> dict:
    for file in ("predictions.json", "metrics.json"):
        if not (results / file).is_file():
            other = f" --cfg-options test_dataloader.dataset.ann_file=annotations/{results.name}.json --out {results}"
            split = {"test": "", "val": " --split val"}.get(results.name, other)
            raise ConfigError(
                f"{results / file} does not exist, so there is nothing to report; make it with "
                f"`python tools/test.py {next(iter(sorted(folder.glob('*.py'))), 'CONFIG.py')} {folder}{split}`"
            )
    return json.loads((results / "metrics.json").read_text(encoding="utf-8"))


def _newest_config(folder: Path) -> Config | None:
    files = sorted(folder.glob("*.py"), key=lambda file: (file.stat().st_mtime, file.name))
    return Config.fromfile(str(files[-1])) if files else None


def _malignant(cfg: Config) -> Sequence[str] | None:
    evaluators = cfg.get("test_evaluator") or {}
    listed = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    return next((one["malignant"] for one in listed if one.get("malignant") is not None), None)


def read_ground_truth(dataset: ConfigDict, data_root: str | Path | None = None) -> GroundTruth:
    """Read the annotation file of a data set's config as mmdet's CocoDataset does.

    As there, boxes without area and those marked ``ignore`` are left out, and crowd regions are ignored.
    """
    root = Path(data_root if data_root is not None else dataset.get("data_root") or "")
    ann_file = root / dataset["ann_file"]
    content = read_coco(ann_file)
    classes = tuple(dataset.get("metainfo", {}).get("classes") or [c["name"] for c in content["categories"]])
    labels = map_categories(content, classes, dataset.get("class_map"), ann_file)
    return ground_truth(ann_file, root / dataset.get("data_prefix", {}).get("img", ""), content, classes, labels)


def ground_truth(
    ann_file: Path, image_dir: Path, content: dict, classes: tuple[str, ...], labels: dict[int, int]
) -> GroundTruth:
    """Order the content of a COCO file as it is scored."""
    images = sorted(content["images"], key=lambda item: item["id"])
    by_image: dict[int, list[dict]] = {image["id"]: [] for image in images}
    for entry in content["annotations"]:
        if not entry.get("ignore") and min(entry["bbox"][2:]) >= 1 and entry.get("area", 1) > 0:
            by_image[entry["image_id"]].append(entry)
    category_ids: dict[int, int] = {}
    for category, label in labels.items():
        category_ids.setdefault(label, category)
    boxes = [by_image[image["id"]] for image in images]
    gt_ids = [entry["id"] for entries in boxes for entry in entries]
    return GroundTruth(ann_file, image_dir, content, classes, images, boxes, gt_ids, labels, category_ids)


def score_predictions(
    truth: GroundTruth,
    predictions: list[dict],
    stored: Mapping,
    malignant: Sequence[str] | None = None,
    num_draws: int = 0,
) -> LesionReport:
    """Evaluate predictions in COCO's results format at the threshold that ``stored`` (metrics.json) names."""
    by_image: dict[int, list[dict]] = {image["id"]: [] for image in truth.images}
    for entry in predictions:
        if entry["image_id"] not in by_image:
            raise DatasetError(
                f"predictions.json holds image {entry['image_id']}, which {truth.ann_file} does not: the annotation "
                "file was replaced since; run tools/test.py again, or give the old set with --data-root"
            )
        by_image[entry["image_id"]].append(entry)
    pairs = zip(truth.images, truth.boxes, strict=True)
    per_class = stored.get("class_score_thr")
    return build_report(
        [_image_boxes(truth.labels, by_image[image["id"]], boxes) for image, boxes in pairs],
        truth.classes,
        iou_thr=stored.get("iou_thr", 0.25),
        score_thr=[per_class[name] for name in truth.classes] if per_class else stored["score_thr"],
        score_thr_from=stored.get("score_thr_from", ""),
        malignant=malignant,
        patients=truth.patients,
        num_draws=num_draws,
    )


def _image_boxes(labels: Mapping[int, int], predicted: list[dict], boxes: list[dict]) -> ImageBoxes:
    return ImageBoxes.create(
        _xyxy(predicted),
        [entry["score"] for entry in predicted],
        [labels[entry["category_id"]] for entry in predicted],
        _xyxy(boxes),
        [labels[entry["category_id"]] for entry in boxes],
        gt_ignore=[bool(entry.get("iscrowd")) for entry in boxes],
    )


def _xyxy(entries: list[dict]) -> np.ndarray:
    xywh = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def _check_same(report: LesionReport, stored: Mapping, results: Path, ann_file: Path) -> None:
    """Refuse results whose annotation file is no longer what it was."""
    now = report.metrics()
    for name, before in stored["metrics"].items():
        after = now.get(name, math.nan)
        if before is not None and not (isinstance(after, float) and math.isclose(after, before, abs_tol=1e-6)):
            raise DatasetError(
                f"{results / 'metrics.json'} says {name} {before:.4f}, but predictions.json with {ann_file} gives "
                f"{after:.4f}: one of them was replaced since; run tools/test.py again"
            )


def read_table(path: Path) -> list[dict[str, float | str]]:
    """Rows of a metrics.csv, empty fields left out, numbers as such; no file, no rows."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v if k == "split" else float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
