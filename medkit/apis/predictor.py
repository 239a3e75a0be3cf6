"""Lesions in images, from a trained detector: what a script, a notebook or a server calls.

    predictor = Predictor("work_dirs/centernet_simsiam_liver")
    for found in predictor(["a.png", "b.dcm", array]):
        print(found.path, found.names, found.scores, found.bboxes)

Boxes are those of tools/test.py for the same weights. Any mmdet detector works. Command: tools/predict.py.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import Tensor

from medkit.apis.config import load_config
from medkit.apis.forward import Detect
from medkit.apis.predict_io import Window
from medkit.apis.prediction import BasePredictor, Boxes, Prediction, class_thresholds
from medkit.apis.testing import load_detector
from medkit.data.checks import dataset_configs
from medkit.data.transforms import LoadResized
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.thresholds import StoredThreshold, read_threshold, settings_of
from medkit.registry import MODELS, TRANSFORMS

__all__ = ["Prediction", "Predictor", "config_of", "stored_threshold"]

PER_CLASS = "per-class"


class Predictor(BasePredictor):
    """A trained detector with its preprocessing, class names and thresholds.

    Args:
        checkpoint: Checkpoint file, or run folder (then its last checkpoint).
        config: Config file or loaded config; default: the resolved config that lies in the run folder.
        device: 'cpu', 'cuda', 'cuda:1'; default: the GPU where there is one.
        score_thr: A number for all classes, one by class name, or 'per-class': those of thresholds.json beside the
            checkpoint; default: its one threshold for all classes.
        half: bfloat16 on a CPU, float16 on a GPU; boxes stay float32.
        flip_tta: Look at the mirrored image too, see `medkit.apis.forward`; takes twice the time.
        batch_size: Images that are run together.

    Raises:
        ConfigError, WeightsError: no config, no threshold, no such device, or weights of another model.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        config: str | Path | Config | None = None,
        device: str | None = None,
        score_thr: float | Mapping[str, float] | str | None = None,
        half: bool = False,
        flip_tta: bool = False,
        batch_size: int = 8,
    ) -> None:
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.cfg = config_of(self.checkpoint, config)
        classes = class_names(self.cfg)
        if isinstance(score_thr, str) and score_thr != PER_CLASS:
            raise ConfigError(f"score_thr is {score_thr!r}; expected a number, one per class, or {PER_CLASS!r}")
        if score_thr is None or isinstance(score_thr, str):
            score_thr = _stored(self.checkpoint, self.cfg, per_class=score_thr == PER_CLASS)
        self.device = _device(device)
        init_default_scope(self.cfg.get("default_scope", "mmdet"))
        self.pipeline, window = array_pipeline(self.cfg)
        super().__init__(classes, class_thresholds(score_thr, classes), batch_size, window)
        model = MODELS.build(copy.deepcopy(self.cfg.model))
        load_detector(model, self.checkpoint)
        self.model = model.to(self.device).eval()
        self.detect = Detect(self.model, half, flip_tta)

    def _prepare(self, image: np.ndarray) -> dict:
        try:
            return self.pipeline({"img": image, "img_id": 0, "img_path": ""})
        except (cv2.error, ValueError, ZeroDivisionError) as error:
            raise DatasetError(f"image of {image.shape[1]} x {image.shape[0]} pixels cannot be resized") from error

    def _run(self, inputs: list[dict]) -> list[Boxes]:
        data = {name: [one[name] for one in inputs] for name in ("inputs", "data_samples")}
        with torch.inference_mode():
            batch = self.model.data_preprocessor(data, training=False)
        batched: Tensor = batch["inputs"]  # (B, 3, H, W)
        if self.cfg.get("channels_last") and self.device.type == "cuda":
            batched = batched.contiguous(memory_format=torch.channels_last)
        return self.detect(batched, batch["data_samples"])


def config_of(checkpoint: Path, config: str | Path | Config | None = None) -> Config:
    """The config given, or the resolved one that lies beside a checkpoint.

    Raises:
        ConfigError: there is none, or more than one.
    """
    if isinstance(config, Config):
        return config
    if config is not None:
        return load_config(config)
    found = sorted(checkpoint.parent.glob("*.py"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ConfigError(
            f"{checkpoint.parent} should hold the one config that the detector was trained with (found: {names}); "
            "name it with config= (on the command line --config)"
        )
    return load_config(found[0])


def class_names(cfg: Config) -> tuple[str, ...]:
    """Class names of the data set that a config tests on, or else of the one that it trains on.

    Raises:
        ConfigError: it names none.
    """
    datasets = dataset_configs(cfg)
    for loader in ("test_dataloader", "val_dataloader", "train_dataloader"):
        for dataset in datasets.get(loader, []):
            if classes := (dataset.get("metainfo") or {}).get("classes"):
                return (classes,) if isinstance(classes, str) else tuple(classes)
    raise ConfigError(f"{cfg.filename} names no classes; set metainfo=dict(classes=(...)) in its test data set")


def stored_threshold(checkpoint: Path, cfg: Config) -> StoredThreshold | None:
    """What thresholds.json keeps for a checkpoint; None where there is nothing that holds for it and its config."""
    evaluators = [cfg.get("test_evaluator") or {}, cfg.get("val_evaluator") or {}]
    flat = [one for each in evaluators for one in (each if isinstance(each, (list, tuple)) else [each])]
    iou_thr = next((one["iou_thr"] for one in flat if "iou_thr" in one), 0.25)
    return read_threshold(checkpoint, iou_thr, settings_of(cfg))


def _stored(checkpoint: Path, cfg: Config, per_class: bool) -> float | dict[str, float]:
    """The threshold for all classes, or with ``per_class`` those of the classes; an error where there is none."""
    stored = stored_threshold(checkpoint, cfg)
    if stored is None:
        raise ConfigError(
            f"no threshold that holds is kept for {checkpoint}; `python tools/test.py CONFIG {checkpoint}` chooses one "
            "on the validation set, or give one: score_thr=0.3 (on the command line --score-thr 0.3)"
        )
    if not per_class:
        return stored.score_thr
    own = stored.by_class()
    if own is None:
        raise ConfigError(
            f"thresholds.json keeps no thresholds per class for {checkpoint}; delete its entry and run `python "
            f"tools/test.py CONFIG {checkpoint}` again, or use the threshold for all classes"
        )
    return own


class ResizedArray(LoadResized):
    """`LoadResized` for an image that is in memory: the same resizing, nothing decoded or cached."""

    def transform(self, results: dict) -> dict:
        """Resize ``img``."""
        self._array = results["img"]
        return super().transform(results)

    def _load(self, path: str) -> tuple[np.ndarray, tuple[int, int]]:
        results: dict[str, Any] = {"img": self._array, "scale": self.scale}
        self._resize_img(results)
        return results["img"], self._array.shape[:2]


class WholeArray(BaseTransform):
    """`LoadMedicalImage` for an image that is in memory."""

    def transform(self, results: dict) -> dict:
        """Give ``img`` three channels, and its shape to the keys that hold it."""
        image = results["img"]
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        return {**results, "img": image, "img_shape": image.shape[:2], "ori_shape": image.shape[:2]}


def array_pipeline(cfg: Config) -> tuple[Compose, Window]:
    """The config's test pipeline with its first step, the loading, replaced; and how that shows deep images.

    Raises:
        ConfigError: the pipeline does not begin with a loading step that is known.
    """
    datasets = dataset_configs(cfg).get("test_dataloader") or dataset_configs(cfg).get("val_dataloader")
    steps = copy.deepcopy(datasets[0].get("pipeline")) if datasets else None
    if not steps:
        raise ConfigError(f"{cfg.filename} has no test_dataloader with a pipeline; it says how an image is prepared")
    load, *rest = (step for step in steps if not str(step["type"]).endswith("LoadAnnotations"))
    window = Window(**{name: tuple(load[name]) for name in ("window", "percentiles") if load.get(name)})
    kind = str(load["type"]).rsplit(".", 1)[-1]
    if kind == "LoadResized":
        first: BaseTransform = ResizedArray(**{k: v for k, v in load.items() if k not in ("type", "cache_dir")})
    elif kind in ("LoadMedicalImage", "LoadImageFromFile"):
        first = WholeArray()
    else:
        raise ConfigError(
            f"the test pipeline begins with {load['type']}; expected medkit.LoadResized, medkit.LoadMedicalImage or "
            "LoadImageFromFile"
        )
    return Compose([first, *(TRANSFORMS.build(_without_truth(step)) for step in rest)]), window


def _without_truth(step: ConfigDict) -> ConfigDict:
    """A step that packs no annotations."""
    if "meta_keys" in step:
        step["meta_keys"] = tuple(key for key in step["meta_keys"] if key != "instances")
    return step


def _device(name: str | None) -> torch.device:
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {name} was asked for, but torch sees no GPU; use cpu (python -m medkit.doctor)")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is none; expected cpu, cuda or cuda:1") from error
