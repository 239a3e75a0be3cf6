"""Saliency maps of images: where something stands out from its surroundings; the guide of SSiT's pre-training.

Fine-grained static saliency (Montabone and Soto 2010, as in OpenCV-contrib's StaticSaliencyFineGrained, which the
plain OpenCV lacks), with the contrast step and the circles that Huang et al. (SSiT, JBHI 2024) use for fundus
photographs of 512 x 512 pixels. All lengths scale with the image: at 512 pixels they are the published ones.
Commands: ``python -m data_prep fundus`` and ``python -m data_prep saliency``.
"""

from __future__ import annotations

import cv2
import numpy as np

PUBLISHED_SIZE = 512  # side of the images for which the lengths below were published
WINDOWS = (12, 24, 48, 28, 56, 112)  # half sides of the surroundings that a pixel is compared with
SIGMA = 512 / 30  # of the background that the contrast step takes away
CONTRAST = 4
GREY = 128
CONTRAST_RADIUS, MAP_RADIUS = 250, 240  # circles round the centre: of the contrast step, and of the final map


def fundus_saliency(image: np.ndarray) -> np.ndarray:
    """Map (H, W) uint8 of a cropped fundus photograph (H, W, 3) BGR uint8: contrast step, saliency, circle."""
    found = fine_grained(raise_contrast(image, circle=True))
    return np.where(circle_mask(found.shape, MAP_RADIUS), found, np.uint8(0))


def frame_saliency(image: np.ndarray, circle: bool = False) -> np.ndarray:
    """Map (H, W) uint8 of any image, (H, W) or (H, W, 3) BGR uint8; ``circle``: a fundus photograph fills the frame.

    Other frames than fundus photographs have no rim to be hidden and no uneven flash, so neither the circles nor the
    contrast step are used.
    """
    return fundus_saliency(image) if circle else fine_grained(image)


def raise_contrast(image: np.ndarray, circle: bool = True) -> np.ndarray:
    """The image less its blurred self, times four, on grey: evens out the light. Grey outside the ``circle``.

    The JPEG round trip at quality 95 is the published one; it changes values by a few grey levels.
    """
    image = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    background = cv2.GaussianBlur(image, (0, 0), SIGMA * _scale(image.shape))
    even = cv2.addWeighted(image, CONTRAST, background, -CONTRAST, GREY)
    if circle:
        even[~circle_mask(image.shape, CONTRAST_RADIUS)] = GREY
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", even)[1], cv2.IMREAD_COLOR))


def circle_mask(shape: tuple[int, ...], radius: int) -> np.ndarray:
    """Filled circle (H, W) bool round the centre; ``radius`` in pixels of an image of 512 x 512."""
    height, width = shape[:2]
    mask = np.zeros((height, width), np.uint8)
    return cv2.circle(mask, (width // 2, height // 2), round(radius * _scale(shape)), 1, -1).astype(bool)


def fine_grained(image: np.ndarray) -> np.ndarray:
    """Fine-grained static saliency (H, W) uint8 of an image (H, W) or (H, W, 3) BGR uint8.

    Brighter and darker than the surroundings are summed over `WINDOWS`, each scaled to its largest value. The sum of
    both wraps round at 256, as OpenCV's does.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    for _ in range(2):
        grey = cv2.GaussianBlur(grey, (3, 3), 0)
    sums = np.asarray(cv2.integral(grey, sdepth=cv2.CV_32F))  # (H + 1, W + 1); as OpenCV, rounds from 2 ** 24 on
    brighter, darker = np.zeros(grey.shape, np.int32), np.zeros(grey.shape, np.int32)
    level = grey.astype(np.float32)
    for window in WINDOWS:
        mean = _surround_mean(sums, level, max(2, round(window * _scale(grey.shape))))
        difference = np.trunc(level - mean).astype(np.int32)
        brighter += np.maximum(difference, 0)
        darker -= np.minimum(difference, 0)
    both = [_stretch(one) for one in (brighter, darker)]
    highest = max(int(one.max()) for one in both)
    if highest == 0:  # a flat image
        return np.zeros(grey.shape, np.uint8)
    return (255 * (both[0] + both[1]) // highest).astype(np.uint8)


def _surround_mean(sums: np.ndarray, level: np.ndarray, window: int) -> np.ndarray:
    """Mean (H, W) float32 of a square round each pixel, clipped to the image, without the pixel itself."""
    height, width = level.shape
    wide = np.pad(sums, ((window - 1, window), (window - 1, window)), "edge")  # what is clipped stays at the edge
    low, high = slice(0, height), slice(2 * window, 2 * window + height)
    left, right = slice(0, width), slice(2 * window, 2 * window + width)
    total = wide[high, right] + wide[low, left] - wide[high, left] - wide[low, right]
    area = np.outer(_extent(height, window), _extent(width, window))  # (H, W)
    return (total - level) / np.maximum(area - 1, 1).astype(np.float32)


def _extent(length: int, window: int) -> np.ndarray:
    """Pixels (length,) that the window of each pixel has within the image, along one side."""
    place = np.arange(length)
    return np.minimum(place + window + 1, length) - np.maximum(place - window + 1, 0)


def _stretch(values: np.ndarray) -> np.ndarray:
    """Values scaled to 0..255, cut to whole numbers; all zero stays so."""
    return 255 * values // max(int(values.max()), 1)


def _scale(shape: tuple[int, ...]) -> float:
    """Size of the image in terms of the published one: its shorter side."""
    return min(shape[:2]) / PUBLISHED_SIZE
