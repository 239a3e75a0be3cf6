"""A tiny graded set for tests: synthetic fundus discs, in the layout that `python -m data_prep fundus` writes.

The grade is visible: image i has i % classes bright spots on its disc, which its saliency map marks. Two images in
a row are of one patient; half of the patients are in train, a quarter each in val and test.
"""

import csv
from pathlib import Path

import cv2
import numpy as np

HEADER = ("image", "patient", "label", "split")


def write_graded(
    root: Path, size: int = 64, num: int = 24, classes: int = 5, saliency: bool = True, seed: int = 0
) -> Path:
    """Write ``num`` square images of side ``size``, their maps and labels.csv below ``root``; returns ``root``."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "saliency") if saliency else ("images",):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(num):
        picture, found = draw_fundus(rng, size, spots=i % classes)
        patient, eye = i // 2, "LR"[i % 2]
        name = f"p{patient:03d}_{eye}"
        cv2.imwrite(str(root / "images" / f"{name}.jpg"), picture)
        if saliency:
            cv2.imwrite(str(root / "saliency" / f"{name}.png"), found)
        rows.append((f"{name}.jpg", f"p{patient:03d}", i % classes, _split(patient, -(-num // 2))))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return root


def draw_fundus(rng: np.random.Generator, size: int, spots: int, width: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A red-brown disc on black with ``spots`` yellow spots: image (H, W, 3) BGR and map (H, W), both uint8.

    The image is ``size`` high and ``width`` (0: ``size``) wide; the map is 255 on the spots and 60 on the vessels.
    """
    width = width or size
    picture, found = np.zeros((size, width, 3), np.uint8), np.zeros((size, width), np.uint8)
    radius, centre = round(0.46 * size), np.array([width / 2, size / 2])
    colour = np.array([40, 80, 170]) + rng.integers(-15, 16, 3)
    cv2.circle(picture, _point(centre), radius, colour.tolist(), -1)
    disc = centre + np.array([0.6 * radius * rng.choice([-1, 1]), 0])
    for angle in rng.uniform(0, 2 * np.pi, 5):
        end = centre + 0.85 * radius * np.array([np.cos(angle), np.sin(angle)])
        for image, value in ((picture, (25, 35, 100)), (found, 60)):
            cv2.line(image, _point(disc), _point(end), value, max(1, size // 64))
    for _ in range(spots):
        angle, reach = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.uniform(0, 0.6))
        spot = centre + reach * np.array([np.cos(angle), np.sin(angle)])
        for image, value in ((picture, (120, 230, 240)), (found, 255)):
            cv2.circle(image, _point(spot), max(2, size // 24), value, -1)
    noise = rng.normal(0, 6, picture.shape) * (picture.any(axis=2, keepdims=True))
    return np.clip(picture + noise, 0, 255).astype(np.uint8), found


def _split(patient: int, patients: int) -> str:
    place = (patient + 0.5) / patients
    return "train" if place < 0.5 else "val" if place < 0.75 else "test"


def _point(xy: np.ndarray) -> tuple[int, int]:
    return round(float(xy[0])), round(float(xy[1]))
