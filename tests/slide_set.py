"""Slides for tests: pink tissue with dark nuclei on glass, written as a pyramid that OpenSlide reads."""

from pathlib import Path

import cv2
import numpy as np

from data_prep.slides.pyramid import write_pyramid

GLASS = 244


def draw_slide(width: int = 900, height: int = 700, mpp: float = 1.0, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB: in the middle an ellipse of tissue, 0.7 of the sides wide; nuclei are 8 um."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), GLASS, np.uint8)
    inside = cv2.ellipse(
        np.zeros((height, width), np.uint8), (width // 2, height // 2), (int(width * 0.35), int(height * 0.35)),
        0, 0, 360, 1, -1,
    ).astype(bool)  # fmt: skip
    tissue = np.array([220, 150, 190]) + rng.normal(0, 6, (height, width, 1))
    image[inside] = tissue.clip(0, 255)[inside].astype(np.uint8)
    for x, y in rng.uniform(0, (width, height), (width * height // 900, 2)).astype(int):
        if inside[y, x]:
            cv2.circle(image, (int(x), int(y)), max(1, round(4 / mpp)), (90, 50, 130), -1)
    return image


def write_slide(path: Path, mpp: float = 1.0, seed: int = 0, codec: str = "deflate") -> np.ndarray:
    """Write a slide of three levels; returns its level 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = draw_slide(mpp=mpp, seed=seed)
    write_pyramid(path, image, mpp, 3, codec)
    return image
