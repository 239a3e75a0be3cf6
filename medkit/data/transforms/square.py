"""Bring an image to a square of one size, as anomaly detectors are given it.

In a config: ``dict(type='medkit.SquareResize', size=256, drop_top=0.08, crop=True)`` is what HealthyGAN (Rahman
Siddiquee et al., SASHIMI 2022) does with chest X-rays: the top 8 % hold burned-in text.
"""

import cv2
from mmcv.transforms import BaseTransform

from medkit.errors import ConfigError
from medkit.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SquareResize(BaseTransform):
    """Resize ``img`` (H, W, 3) to ``size`` x ``size``: by area where it shrinks, bilinear where it grows.

    ``view`` becomes the part of the image that is left, (left, top, right, bottom) in shares, by which masks follow.

    Args:
        size: side in pixels.
        drop_top: share of the rows cut off at the top first.
        crop: cut to the central square; else the aspect is squeezed.
    """

    def __init__(self, size: int, drop_top: float = 0.0, crop: bool = False) -> None:
        if size < 1 or not 0 <= drop_top < 1:
            raise ConfigError(f"SquareResize: size={size}, drop_top={drop_top}; expected 1 or more, and 0 to below 1")
        self.size, self.drop_top, self.crop = size, drop_top, crop

    def transform(self, results: dict) -> dict:
        """Cut, resize, and say which part is left."""
        image = results["img"]
        height, width = image.shape[:2]
        top, left, bottom, right = int(height * self.drop_top), 0, height, width
        if self.crop:
            side = min(bottom - top, width)
            top, left = top + (bottom - top - side) // 2, (width - side) // 2
            bottom, right = top + side, left + side
        shrinks = min(bottom - top, right - left) > self.size
        results["img"] = cv2.resize(
            image[top:bottom, left:right],
            (self.size, self.size),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        results["img_shape"] = (self.size, self.size)
        results["view"] = (left / width, top / height, right / width, bottom / height)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, drop_top={self.drop_top}, crop={self.crop})"
