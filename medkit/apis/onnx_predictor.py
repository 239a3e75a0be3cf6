"""Lesions in images from a file of tools/export_onnx.py, by onnxruntime: NumPy and OpenCV, without torch.

    for found in OnnxPredictor("centernet.onnx")(["a.png", "b.dcm", array]):
        print(found.path, found.names, found.scores, found.bboxes)

Needs the extra ``onnx``. Command: ``python tools/predict.py centernet.onnx IMAGES --out DIR``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medkit.apis.predict_io import Window
from medkit.apis.prediction import BasePredictor, Boxes, class_thresholds
from medkit.errors import ConfigError, DatasetError, WeightsError

__all__ = ["METADATA", "Letterbox", "OnnxPredictor", "import_onnx"]

METADATA = "medkit"
_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def import_onnx(name: str, *also: str) -> Any:
    """Import a package of the extra ``onnx``; ``also`` ones must be there as well.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        modules = [importlib.import_module(each) for each in (name, *also)]
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; it is in the extra: pip install 'medkit[onnx]'") from error
    return modules[0]


@dataclass(frozen=True)
class Letterbox:
    """Resize to fit ``resize_to`` (width, height), then pad right and below to ``size`` (height, width)."""

    size: tuple[int, int]
    resize_to: tuple[int, int]
    interpolation: str
    pad_val: float

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Network input (3, H, W) uint8 in RGB, of an image (h, w) or BGR (h, w, 3)."""
        width, height = self._new_size(image.shape[:2])
        if width < 1 or height < 1:
            raise DatasetError(f"image of {image.shape[1]} x {image.shape[0]} pixels cannot be resized")
        image = cv2.resize(image, (width, height), interpolation=_INTERPOLATIONS[self.interpolation])
        padded = np.full((3, *self.size), self.pad_val, np.uint8)
        padded[:, :height, :width] = image if image.ndim == 2 else image[..., ::-1].transpose(2, 0, 1)
        return padded

    def scale_of(self, shape: tuple[int, int]) -> np.ndarray:
        """What x1, y1, x2, y2 in an image of ``shape`` (height, width) are multiplied by: ``(4,)`` float32."""
        width, height = self._new_size(shape)
        return np.array([width / shape[1], height / shape[0]] * 2, np.float32)

    def _new_size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Width and height after the resizing, rounded as mmcv rounds them."""
        factor = min(max(self.resize_to) / max(shape), min(self.resize_to) / min(shape))
        return int(shape[1] * factor + 0.5), int(shape[0] * factor + 0.5)


class OnnxPredictor(BasePredictor):
    """A detector exported by tools/export_onnx.py, used as `medkit.apis.predictor.Predictor` is.

    Args:
        path: The .onnx file.
        device: 'cpu' or 'cuda' (with onnxruntime-gpu); default cpu.
        score_thr: A number for all classes, one by class name, or 'per-class': those that the file holds; default:
            the file's one threshold for all classes.
        batch_size: Images that are run together; a file of one image at a time runs them one by one.
        threads: Threads of onnxruntime; default: its own choice.

    Raises:
        ConfigError: onnxruntime is missing, there is no threshold, or no such device.
        WeightsError: the file is missing, damaged or not of tools/export_onnx.py.
    """

    def __init__(
        self,
        path: str | Path,
        device: str | None = None,
        score_thr: float | Mapping[str, float] | str | None = None,
        batch_size: int = 8,
        threads: int | None = None,
    ) -> None:
        self.session = _session(Path(path), device or "cpu", threads)
        try:
            about = json.loads(self.session.get_modelmeta().custom_metadata_map[METADATA])
        except (KeyError, json.JSONDecodeError) as error:
            raise WeightsError(f"{path} holds no metadata of medkit; make it with tools/export_onnx.py") from error
        self.about = about
        kept = {None: about["score_thr"], "per-class": about["class_thr"]}
        thresholds = kept.get(score_thr) if score_thr is None or isinstance(score_thr, str) else score_thr
        if thresholds is None:
            what = "threshold" if score_thr is None else f"{score_thr} thresholds"
            raise ConfigError(f"{path} holds no {what}; give one: score_thr=0.3, or --score-thr 0.3 to a tool")
        window = Window(tuple(about["window"]) if about["window"] else None, tuple(about["percentiles"]))
        super().__init__(about["classes"], class_thresholds(thresholds, about["classes"]), batch_size, window)
        self.letterbox = Letterbox(
            tuple(about["input_size"]), tuple(about["resize_to"]), about["interpolation"], about["pad_val"]
        )
        self.one_by_one = self.session.get_inputs()[0].shape[0] == 1

    def _prepare(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        return self.letterbox(image), image.shape[:2]

    def _run(self, inputs: list[tuple[np.ndarray, tuple[int, int]]]) -> list[Boxes]:
        images = np.stack([image for image, _ in inputs])  # (B, 3, H, W)
        parts = np.split(images, len(images)) if self.one_by_one else [images]
        outputs = [self.session.run(["boxes", "scores", "labels"], {"images": part}) for part in parts]
        boxes, scores, labels = (np.concatenate(each) for each in zip(*outputs, strict=True))
        shapes = [shape for _, shape in inputs]
        return [self._in_image(*one) for one in zip(boxes, scores, labels, shapes, strict=True)]

    def _in_image(self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, shape: Sequence[int]) -> Boxes:
        """Boxes (k, 4) in pixels of the original image; what is no local maximum or has no area left is dropped."""
        height, width = shape
        boxes = boxes / self.letterbox.scale_of((height, width))
        keep = scores > self.about["min_score"]
        if self.about["clip"]:
            boxes = boxes.clip(0, np.array([width, height] * 2, np.float32))
            keep &= (boxes[:, 2:] > boxes[:, :2]).all(1)
        return boxes[keep], scores[keep], labels[keep]


def _session(path: Path, device: str, threads: int | None) -> Any:
    runtime = import_onnx("onnxruntime")
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; make it with tools/export_onnx.py")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device.split(":")[0])
    if provider not in runtime.get_available_providers():
        raise ConfigError(f"device {device} is not served by this onnxruntime; use cpu, or install onnxruntime-gpu")
    options = runtime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # onnxruntime's own kinds are derived from Exception alone
        raise WeightsError(f"{path} cannot be loaded by onnxruntime: {str(error)[:200]}") from error
