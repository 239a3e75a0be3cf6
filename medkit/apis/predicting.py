"""A prediction run over files: read, predict, write, one batch at a time. Command: tools/predict.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.apis.predict_io import Frame, find_files, read_frames
from medkit.apis.predict_out import PredictionWriter
from medkit.apis.prediction import BasePredictor
from medkit.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from medkit.apis.anomaly import AnomalyScorer

__all__ = ["Counts", "load_predictor", "load_scorer", "predict"]


@dataclass(frozen=True)
class Counts:
    """How many images were predicted, boxes found, images or files not readable; and the time that it took."""

    images: int
    boxes: int
    errors: int
    seconds: float

    def __str__(self) -> str:
        rate = f"{1e3 * self.seconds / self.images:.1f} ms each" if self.images else "none"
        return f"{self.images} images ({rate}), {self.boxes} boxes, {self.errors} not readable"


def load_predictor(weights: str | Path, **options: Any) -> BasePredictor:
    """`Predictor` for a checkpoint or run folder, `OnnxPredictor` for a file that ends in .onnx.

    Args:
        weights: The file or folder.
        **options: As `Predictor` takes them; None and False stand for its defaults.

    Raises:
        ConfigError: an ONNX file was given with an option that it does not have.
    """
    if Path(weights).suffix != ".onnx":
        from medkit.apis.predictor import Predictor

        return Predictor(weights, **options)
    for name in ("half", "flip_tta", "config"):
        if options.pop(name, None):
            raise ConfigError(f"{name} is an option of PyTorch weights, not of {weights}; leave it out")
    from medkit.apis.onnx_predictor import OnnxPredictor

    return OnnxPredictor(weights, **options)


def load_scorer(
    weights: str | Path, config: str | Path | None, device: str | None, batch_size: int
) -> AnomalyScorer | None:
    """`AnomalyScorer` where the weights are an anomaly detector's, else None.

    Raises:
        ConfigError: no config lies beside the weights and none is given.
    """
    if Path(weights).suffix == ".onnx":
        return None
    from medkit.apis.anomaly import AnomalyScorer
    from medkit.apis.predictor import config_of
    from medkit.engine.checkpoint import resolve_checkpoint
    from medkit.registry import MODELS

    checkpoint = resolve_checkpoint(weights)
    cfg = config_of(checkpoint, config)
    kind = str(cfg.get("model", {}).get("type"))
    if not kind.startswith("medkit.") or not hasattr(MODELS.get(kind), "score"):
        return None
    return AnomalyScorer(cfg, checkpoint, device=device, batch_size=batch_size)


def predict(
    predictor: BasePredictor, source: str | Path, out: str | Path, about: dict[str, Any], overlays: bool = True
) -> Counts:
    """Predict a file or all files of a folder and write the results.

    Args:
        predictor: What finds the boxes.
        source: Image, DICOM file, video, or a folder of them, with its sub-folders.
        out: Folder for the results, see `PredictionWriter`.
        about: What predictions.json says of the weights.
        overlays: Draw boxes on the images.

    Raises:
        DatasetError: there is nothing to read, or nothing of it could be read.
    """
    source, start = Path(source), time.perf_counter()
    root = source if source.is_dir() else source.parent
    frames: Iterator[Frame] = (f for path in find_files(source, leave_out=Path(out)) for f in read_frames(path))
    thresholds = dict(zip(predictor.classes, (round(float(t), 6) for t in predictor.thresholds), strict=True))
    with PredictionWriter(out, root, predictor.classes, {**about, "score_thr": thresholds}, overlays) as writer:
        for frame, prediction in predictor.run(frames):
            writer.add(frame, prediction)
    counts = Counts(writer.num_images, writer.num_boxes, writer.num_errors, time.perf_counter() - start)
    if counts.images == 0:
        what = f"none of {counts.errors} could be read, see {Path(out) / 'errors.csv'}" if counts.errors else "nothing"
        raise DatasetError(f"{source}: {what}; expected images, DICOM files or videos")
    return counts
