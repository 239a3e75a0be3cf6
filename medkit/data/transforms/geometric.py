"""Random zoom, shift and slight rotation about the image centre, with boxes.

In a config: ``dict(type='medkit.RandomScaleShift', scale=(0.8, 1.25), shift=0.1)``, after the padding.
mmdet's ``RandomAffine`` turns and scales about the upper left corner, fills with grey where ultrasound is
black, and keeps the sliver of a lesion that has left the image. ``python tools/benchmark.py pipeline`` times
both.
"""

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type

from medkit.errors import ConfigError
from medkit.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomScaleShift(BaseTransform):
    """Zoom, shift and turn the image in its frame; the frame keeps its size.

    Args:
        scale: Range of the zoom, drawn uniformly in its logarithm; 1 keeps the size.
        shift: Largest shift along each axis, in parts of the frame.
        rotate_deg: Largest turn to either side. A box is treated as the ellipse inside it, so that it does
            not grow with the turn as the box round a turned rectangle would.
        min_visible: A box with a smaller part of its area left in the frame is dropped.
        min_size: A box with a side shorter than this, in pixels, is dropped.
        prob: Probability that an image is changed.
        fill: Grey value of what comes in from outside.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.8, 1.25),
        shift: float = 0.1,
        rotate_deg: float = 0.0,
        min_visible: float = 0.3,
        min_size: float = 2.0,
        prob: float = 1.0,
        fill: int = 0,
    ) -> None:
        if not (0 < scale[0] <= scale[1] and 0 <= shift < 1 and 0 <= min_visible <= 1 and 0 <= prob <= 1):
            raise ConfigError(
                f"RandomScaleShift got scale={scale}, shift={shift}, min_visible={min_visible}, prob={prob};"
                " expected 0 < scale[0] <= scale[1], shift in [0, 1), min_visible and prob in [0, 1]; "
                "correct the pipeline"
            )
        self.scale, self.shift, self.rotate_deg = tuple(scale), shift, rotate_deg
        self.min_visible, self.min_size, self.prob, self.fill = min_visible, min_size, prob, fill

    @cache_randomness
    def _draw(self) -> tuple[float, float, float, float] | None:
        """Zoom, turn in radians, shift along x and y in parts of the frame; None leaves the image alone."""
        if np.random.rand() >= self.prob:
            return None
        zoom = float(np.exp(np.random.uniform(*np.log(self.scale))))
        turn = np.deg2rad(np.random.uniform(-self.rotate_deg, self.rotate_deg))
        return zoom, turn, *np.random.uniform(-self.shift, self.shift, size=2)

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Warp ``img``, and ``gt_bboxes`` with labels and ignore flags where they are there."""
        if results.get("gt_masks") is not None:
            raise ConfigError("RandomScaleShift moves boxes only; load annotations with with_mask=False")
        drawn = self._draw()
        if drawn is None:
            return results
        image = results["img"]
        height, width = image.shape[:2]
        matrix = affine_matrix(width, height, *drawn)
        # boxes measure from the pixel's corner, warpAffine from its centre
        warp = np.hstack([matrix[:, :2], matrix[:, 2:] + matrix[:, :2].sum(1, keepdims=True) / 2 - 0.5])
        fill = (self.fill,) * 4
        results["img"] = cv2.warpAffine(
            image, warp, (width, height), flags=cv2.INTER_LINEAR, borderValue=fill
        )
        results["img_shape"] = (height, width)
        if results.get("gt_bboxes") is not None:
            self._move_boxes(results, torch.from_numpy(matrix).float(), (height, width))
        return results

    def _move_boxes(self, results: dict, matrix: torch.Tensor, img_shape: tuple[int, int]) -> None:
        whole = move_boxes(results["gt_bboxes"].tensor, matrix)  # (N, 4)
        limit = torch.tensor([img_shape[1], img_shape[0]] * 2, dtype=whole.dtype)
        boxes = whole.clamp(min=0).minimum(limit)
        size = boxes[:, 2:] - boxes[:, :2]
        visible = size.prod(1) / (whole[:, 2:] - whole[:, :2]).prod(1).clamp(min=1e-6)
        keep = (visible >= self.min_visible) & (size >= self.min_size).all(1)
        results["gt_bboxes"] = HorizontalBoxes(boxes[keep])
        for name in ("gt_bboxes_labels", "gt_ignore_flags"):
            if name in results:
                results[name] = results[name][keep.numpy()]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(scale={self.scale}, shift={self.shift}, rotate_deg={self.rotate_deg}, "
            f"min_visible={self.min_visible}, min_size={self.min_size}, prob={self.prob}, fill={self.fill})"
        )


def affine_matrix(
    width: int, height: int, zoom: float, turn: float, shift_x: float, shift_y: float
) -> np.ndarray:
    """Matrix (2, 3): zoom and turn (radians) about the centre of the frame, then shift by parts of it."""
    linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    center = np.array([width, height]) / 2
    moved = center + np.array([shift_x * width, shift_y * height])
    return np.column_stack([linear, moved - linear @ center])


def move_boxes(boxes: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Boxes (N, 4) round the moved ellipses inscribed in ``boxes``; ``matrix`` (2, 3)."""
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    center = center @ matrix[:, :2].T + matrix[:, 2]
    half = (half**2 @ (matrix[:, :2] ** 2).T).sqrt()
    return torch.cat([center - half, center + half], dim=1)
