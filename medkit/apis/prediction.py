"""What a predictor returns, and the loop that PyTorch's and onnxruntime's predictor share. Needs NumPy only.

`medkit.apis.predictor.Predictor` runs a checkpoint, `medkit.apis.onnx_predictor.OnnxPredictor` an exported file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medkit.apis.predict_io import Frame, Window, frames_of, to_uint8
from medkit.errors import ConfigError, DatasetError

__all__ = ["BasePredictor", "Boxes", "Prediction", "class_thresholds"]

Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]  # xyxy (N, 4) float32, scores (N,) float32, labels (N,) int64
_SPOILT = "the model predicted nan or infinity: its weights are spoilt, or half precision is too short for it"
Source = str | Path | np.ndarray | Frame


@dataclass(frozen=True)
class Prediction:
    """The boxes of one image, or the reason why there are none.

    Attributes:
        bboxes: ``(N, 4)`` float32 xyxy in pixels of the original image, the surest first.
        scores: ``(N,)`` float32 in [0, 1].
        labels: ``(N,)`` int64, positions in ``classes``.
        classes: Names of all classes of the detector.
        path: File, as it was given; None for an array.
        frame: Number of the frame in a video, DICOM or TIFF of several, from 0; None for a single image.
        size: Height and width of the image; None where it could not be read.
        error: Why the image has no result; None where all went well.
    """

    bboxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: tuple[str, ...] = ()
    path: str | None = None
    frame: int | None = None
    size: tuple[int, int] | None = None
    error: str | None = None

    @property
    def names(self) -> list[str]:
        """Class name of each box."""
        return [self.classes[label] for label in self.labels]

    def __len__(self) -> int:
        return len(self.scores)


def class_thresholds(score_thr: float | Mapping[str, float], classes: Sequence[str]) -> np.ndarray:
    """One threshold per class ``(C,)`` float32, from a number for all or a number by class name.

    Raises:
        ConfigError: a class has none, or a number is outside [0, 1].
    """
    if isinstance(score_thr, Mapping):
        if set(score_thr) != set(classes):
            raise ConfigError(f"thresholds are for {sorted(score_thr)}; expected one for each of {sorted(classes)}")
        values = [float(score_thr[name]) for name in classes]
    else:
        values = [float(score_thr)] * len(classes)
    if not all(0 <= value <= 1 for value in values):
        raise ConfigError(f"score threshold {score_thr} is outside [0, 1]")
    return np.array(values, dtype=np.float32)


class BasePredictor(ABC):
    """Batches, errors of single images, and the threshold; a sub-class prepares an image and runs a batch.

    Args:
        classes: Class names in the order of the labels.
        thresholds: ``(C,)`` from `class_thresholds`; a box counts where its score reaches its class's.
        batch_size: Images that are run together.
        window: How an image deeper than 8 bits becomes 8 bits.
    """

    def __init__(self, classes: Sequence[str], thresholds: np.ndarray, batch_size: int, window: Window) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected 1 or more")
        self.classes, self.thresholds = tuple(classes), thresholds
        self.batch_size, self.window = batch_size, window

    def __call__(self, images: Source | Iterable[Source]) -> Iterator[Prediction]:
        """Predict images one after the other, in their order; memory holds one batch.

        Args:
            images: Arrays (H, W) or (H, W, 3) in RGB, of uint8 or deeper; paths of images, DICOM files and videos
                (several frames give several predictions); or one of these.
        """
        several = [images] if isinstance(images, (str, Path, np.ndarray, Frame)) else images
        frames = (frame for image in several for frame in frames_of(image))
        return (prediction for _, prediction in self.run(frames))

    def run(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Prediction]]:
        """As a call, from frames, and with each prediction the 8-bit image that it belongs to."""
        batch: list[tuple[Frame, Any]] = []
        for frame in frames:
            batch.append(self._ready(frame))
            if len(batch) == self.batch_size:
                yield from self._finish(batch)
                batch = []
        yield from self._finish(batch)

    def _ready(self, frame: Frame) -> tuple[Frame, Any]:
        """The frame in 8 bits with its prepared input; or with its error and None."""
        if frame.image is None:
            return frame, None
        try:
            image = to_uint8(frame.image, self.window)
            return replace(frame, image=image), self._prepare(image)
        except DatasetError as error:
            return replace(frame, image=None, error=str(error)), None

    def _finish(self, batch: list[tuple[Frame, Any]]) -> Iterator[tuple[Frame, Prediction]]:
        inputs = [prepared for _, prepared in batch if prepared is not None]
        found = iter(self._run(inputs) if inputs else [])
        for frame, prepared in batch:
            empty = Prediction(classes=self.classes, path=frame.path, frame=frame.number, error=frame.error)
            if prepared is None or frame.image is None:
                yield frame, empty
                continue
            bboxes, scores, labels = boxes = next(found)
            if not (np.isfinite(bboxes).all() and np.isfinite(scores).all()):
                yield frame, replace(empty, error=_SPOILT)
                continue
            bboxes, scores, labels = self._above(boxes)
            yield frame, replace(empty, bboxes=bboxes, scores=scores, labels=labels, size=frame.image.shape[:2])

    def _above(self, boxes: Boxes) -> Boxes:
        bboxes, scores, labels = boxes
        keep = np.flatnonzero(scores >= self.thresholds[labels])
        keep = keep[np.argsort(-scores[keep], kind="stable")]
        return bboxes[keep].astype(np.float32), scores[keep].astype(np.float32), labels[keep].astype(np.int64)

    @abstractmethod
    def _prepare(self, image: np.ndarray) -> Any:
        """The input made of one image (H, W) or (H, W, 3) BGR uint8; `DatasetError` where that is impossible."""

    @abstractmethod
    def _run(self, inputs: list[Any]) -> list[Boxes]:
        """Boxes of each prepared input, in pixels of the original image, without a threshold."""
