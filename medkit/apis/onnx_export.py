"""CenterNet as one ONNX file that goes from 8-bit pixels to boxes. Command: tools/export_onnx.py.

The graph holds normalisation, network, local maxima (max-pool) and top-k, so that a program in another language needs
to resize and pad the image, divide the boxes by the scale and apply the thresholds, and cannot get the decoding wrong.
Exported by torch's own exporter (``dynamo=True``; the older one is deprecated since torch 2.9); a check with
onnxruntime on pictures of several shapes ends each export. Needs the extra ``onnx``.

Input ``images`` uint8 (B, 3, H, W) in RGB, resized and padded. Outputs ``boxes`` float32 (B, k, 4) xyxy in pixels of
the input, ``scores`` float32 (B, k), ``labels`` int64 (B, k). What else is needed stands as JSON in the file's
metadata, key ``medkit``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

import medkit
from medkit.apis.onnx_predictor import METADATA, OnnxPredictor, import_onnx
from medkit.apis.prediction import Boxes
from medkit.apis.predictor import Predictor, stored_threshold
from medkit.errors import ConfigError, MedkitError
from medkit.models.detection import CenterNetHead

__all__ = ["OnnxMismatchError", "compare", "export_onnx"]

TOLERANCE = 1e-4  # of scores, and of boxes in pixels of the network's input
OPSET = 18


class OnnxMismatchError(MedkitError):
    """The exported file gives other boxes than PyTorch."""


def export_onnx(
    checkpoint: str | Path,
    out: str | Path,
    config: str | Path | None = None,
    opset: int = OPSET,
    dynamic_batch: bool = False,
    score_thr: float | None = None,
) -> dict[str, float]:
    """Write a CenterNet as ONNX and compare it with PyTorch.

    Args:
        checkpoint: Checkpoint file or run folder.
        out: File to write, ending in .onnx; it appears when the comparison has succeeded.
        config: As for `Predictor`.
        opset: ONNX operator set.
        dynamic_batch: Batches of any size; otherwise one image at a time.
        score_thr: Threshold for all classes in the metadata; default: thresholds.json, if it holds any.

    Returns:
        What `compare` found.

    Raises:
        ConfigError: the detector, or its preprocessing, cannot be exported, or a package is missing.
        OnnxMismatchError: the file's boxes are not PyTorch's.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise ConfigError(f"--out is {out}; expected a file name that ends in .onnx")
    onnx = import_onnx("onnx", "onnxscript")
    predictor = Predictor(checkpoint, config, device="cpu", score_thr=0.0, batch_size=1)
    about = _metadata(predictor, score_thr)
    graph = ExportedCenterNet(predictor.model, about["input_size"]).eval()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.stem}.part.onnx")
    try:
        _export(graph, draft, about["input_size"], opset, dynamic_batch)
        file = onnx.load(draft)
        onnx.helper.set_model_props(file, {METADATA: json.dumps(about)})
        onnx.checker.check_model(file)
        onnx.save(file, draft)
        found = compare(predictor, OnnxPredictor(draft, score_thr=0.0, batch_size=2 if dynamic_batch else 1))
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return found


class ExportedCenterNet(nn.Module):
    """Normalisation, network and decoding of a CenterNet in one module.

    Args:
        model: mmdet's CenterNet with medkit's head.
        size: Height and width of the input.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, size: Sequence[int]) -> None:
        super().__init__()
        self.model, self.size = model, tuple(size)
        prep = model.data_preprocessor
        self.swap = not getattr(prep, "_channel_conversion", False)  # trained on BGR
        normal = getattr(prep, "_enable_normalize", False)
        self.register_buffer("mean", prep.mean.clone() if normal else torch.zeros(3, 1, 1))
        self.register_buffer("std", prep.std.clone() if normal else torch.ones(3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map RGB uint8 (B, 3, H, W) to boxes (B, k, 4), scores (B, k) and labels (B, k)."""
        images = (images.flip(1) if self.swap else images).float()
        head, cfg = self.model.bbox_head, self.model.bbox_head.test_cfg or {}
        (logits,), (wh,), (offset,) = head(self.model.extract_feat((images - self.mean) / self.std))
        topk = min(cfg.get("topk", 100), logits.shape[1] * logits.shape[2] * logits.shape[3])
        kernel = cfg.get("local_maximum_kernel", 3)
        dets, labels = head._decode_heatmap(logits.sigmoid(), wh, offset, self.size, k=topk, kernel=kernel)
        return dets[..., :4], dets[..., 4], labels


def compare(ours: Predictor, exported: OnnxPredictor, images: Sequence[np.ndarray] | None = None) -> dict[str, float]:
    """Run both on the same pictures, from 8-bit pixels to boxes in original pixels.

    Returns:
        ``images``, ``boxes``, and the largest differences: ``score``, and ``box`` in pixels of the network's input.

    Raises:
        OnnxMismatchError: a box has no counterpart of its class, or one that differs by more than `TOLERANCE`.
    """
    images = list(images) if images is not None else check_images()
    found = {"images": float(len(images)), "boxes": 0.0, "score": 0.0, "box": 0.0}
    for number, (image, a, b) in enumerate(zip(images, ours(images), exported(images), strict=True)):
        scale = exported.letterbox.scale_of(image.shape[:2])
        score, box = _difference(
            (a.bboxes * scale, a.scores, a.labels), (b.bboxes * scale, b.scores, b.labels), number
        )
        found = {**found, "score": max(found["score"], score), "box": max(found["box"], box)}
        found["boxes"] += len(a)
    if not found["boxes"]:
        raise OnnxMismatchError("PyTorch finds no box in any picture, so nothing was compared; train it first")
    return found


def _difference(a: Boxes, b: Boxes, number: int) -> tuple[float, float]:
    """Largest difference of score and box between the results for one picture."""
    last = max((one[1].min(initial=1) for one in (a, b) if len(one[1])), default=0.0)
    worst_score = worst_box = 0.0
    for one, other in ((a, b), (b, a)):
        for box, score, label in zip(*one, strict=True):
            scores = np.abs(other[1] - score)
            boxes = np.abs(other[0] - box).max(1, initial=0)
            near = (other[2] == label) & (scores <= TOLERANCE)
            if not near.any() and score <= last + TOLERANCE:
                continue  # at the end of the top k, equal scores come in any order
            best = np.flatnonzero(near)[boxes[near].argmin()] if near.any() else None
            if best is None or boxes[best] > TOLERANCE:
                what = f"box {np.round(box, 4).tolist()} of class {label} with score {score:.6f}"
                near_by = "none" if best is None else f"one {boxes[best]:.2g} pixels off"
                raise OnnxMismatchError(
                    f"picture {number}: {what} in one of PyTorch and onnxruntime has {near_by} in the other; "
                    "the file was not written; try another --opset"
                )
            worst_score, worst_box = max(worst_score, float(scores[best])), max(worst_box, float(boxes[best]))
    return worst_score, worst_box


def check_images(seed: int = 0) -> list[np.ndarray]:
    """Speckled pictures with bright and dark discs, of several shapes, grey and coloured."""
    rng, images = np.random.default_rng(seed), []
    for height, width in ((480, 640), (97, 60), (300, 301), (64, 64)):
        image = cv2.GaussianBlur(rng.integers(20, 140, (height, width), dtype=np.uint8), (5, 5), 0)
        for _ in range(6):
            x, y = int(rng.integers(width)), int(rng.integers(height))
            cv2.circle(image, (x, y), int(rng.integers(5, 6 + height // 8)), int(rng.integers(256)), -1)
        images.append(image)
    images.append(np.stack([images[0], images[0] // 2, 255 - images[0]], axis=-1))
    return images


def _export(graph: nn.Module, path: Path, size: Sequence[int], opset: int, dynamic_batch: bool) -> None:
    example = torch.zeros(2 if dynamic_batch else 1, 3, *size, dtype=torch.uint8)
    shapes = {"images": {0: torch.export.Dim("batch")}} if dynamic_batch else None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        try:
            torch.onnx.export(
                graph,
                (example,),
                str(path),
                input_names=["images"],
                output_names=["boxes", "scores", "labels"],
                opset_version=opset,
                dynamo=True,
                external_data=False,
                dynamic_shapes=shapes,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"torch cannot export this detector to opset {opset}: {reason}") from error


def _metadata(predictor: Predictor, score_thr: float | None) -> dict[str, Any]:
    """Everything beside the graph that a program needs; refuses what it could not say."""
    head = predictor.model.bbox_head if hasattr(predictor.model, "bbox_head") else None
    if not isinstance(head, CenterNetHead):
        raise ConfigError(
            f"{type(predictor.model).__name__} is not exported, only CenterNet with medkit.CenterNetHead is; use its "
            "checkpoint with tools/predict.py"
        )
    test_cfg = head.test_cfg or {}
    if test_cfg.get("with_nms"):
        raise ConfigError("test_cfg.with_nms is set and NMS is not in the graph; export without it")
    stored = stored_threshold(predictor.checkpoint, predictor.cfg)
    prep = predictor.model.data_preprocessor
    normal = getattr(prep, "_enable_normalize", False)
    return {
        "medkit": medkit.__version__,
        "description": "boxes of lesions; not a medical device",
        "classes": list(predictor.classes),
        "score_thr": stored.score_thr if stored and score_thr is None else score_thr,
        "class_thr": stored.by_class() if stored else None,
        **_letterbox(predictor),
        "clip": bool(test_cfg.get("clip", True)),
        "min_score": float(test_cfg.get("score_thr", 0.0)),
        "mean": prep.mean.flatten().tolist() if normal else None,  # for the reader: they are in the graph
        "std": prep.std.flatten().tolist() if normal else None,
        "window": predictor.window.window,
        "percentiles": predictor.window.percentiles,
        "checkpoint": predictor.checkpoint.name,
        "checkpoint_sha256": hashlib.sha256(predictor.checkpoint.read_bytes()).hexdigest(),
    }


def _letterbox(predictor: Predictor) -> dict[str, Any]:
    """How an image is resized and padded, as the test pipeline does it; refuses another kind of pipeline."""
    steps = {type(step).__name__: step for step in predictor.pipeline.transforms}
    resize, pad = steps.get("ResizedArray") or steps.get("Resize"), steps.get("Pad")
    known = {"ResizedArray", "WholeArray", "Resize", "Pad", "PackDetInputs"}
    fits = resize is not None and pad is not None and resize.keep_ratio and (pad.size or pad.pad_to_square)
    if set(steps) - known or resize is None or pad is None or not fits:
        raise ConfigError(
            f"the test pipeline ({', '.join(steps)}) is no letterbox of one size, which is all that is exported; use "
            "Resize(keep_ratio=True) or LoadResized, then Pad(size=(W, H))"
        )
    width, height = pad.size or (max(resize.scale), max(resize.scale))
    value = pad.pad_val.get("img", 0) if isinstance(pad.pad_val, dict) else pad.pad_val
    divisor = getattr(predictor.model.data_preprocessor, "pad_size_divisor", 1)
    if width % divisor or height % divisor:
        raise ConfigError(f"the padded size {width} x {height} is no multiple of {divisor}; change img_size")
    return {
        "input_size": [int(height), int(width)],
        "resize_to": [int(v) for v in resize.scale],
        "interpolation": resize.interpolation,
        "pad_val": float(np.ravel(value)[0]),
    }
