"""Colour changes of self-supervision on uint8 BGR images, with OpenCV: those of torchvision and Pillow.

The colour jitter is torchvision's ColorJitter (factors, random order); the blur has the sigma that Pillow's
GaussianBlur is asked for, which Pillow itself approximates by three box filters. Used by `SaliencyTwoViews`.
"""

from collections.abc import Sequence

import cv2
import numpy as np

LEVELS = np.arange(256, dtype=np.float32)


def jitter_colours(image: np.ndarray, strength: Sequence[float]) -> np.ndarray:
    """Change brightness, contrast, saturation and hue by up to ``strength``, in random order; (H, W, 3) uint8 BGR."""
    brightness, contrast, saturation = (np.random.uniform(max(0, 1 - s), 1 + s) for s in strength[:3])
    hue = np.random.uniform(-strength[3], strength[3])
    for step in np.random.permutation(4):
        if step == 0 and strength[0]:
            image = scale_about(image, brightness, 0.0)
        elif step == 1 and strength[1]:
            image = scale_about(image, contrast, round(float(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean())))
        elif step == 2 and strength[2]:
            image = cv2.addWeighted(image, saturation, to_grey(image), 1 - saturation, 0)
        elif step == 3 and strength[3]:
            image = shift_hue(image, hue)
    return image


def scale_about(image: np.ndarray, factor: float, centre: float) -> np.ndarray:
    """``centre + factor * (image - centre)``, clipped to 0..255."""
    return cv2.LUT(image, np.clip(centre + factor * (LEVELS - centre), 0, 255).astype(np.uint8))


def shift_hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Turn the colour circle by ``turn`` (-0.5 to 0.5 of the whole)."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] = cv2.LUT(hsv[..., 0], ((np.arange(256) + round(turn * 255)) % 256).astype(np.uint8))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Grey version with three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; ``sigma`` in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def solarize(image: np.ndarray, threshold: int = 128) -> np.ndarray:
    """Invert values from ``threshold`` on."""
    return cv2.LUT(image, np.where(threshold <= LEVELS, 255 - LEVELS, LEVELS).astype(np.uint8))
