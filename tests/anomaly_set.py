"""A tiny set for anomaly detection: textured grey squares, a bright blob is the anomaly; layout of `anomaly.csv`.

Roles: ``mixed`` (``contamination`` of its images anomalous) and ``healthy`` with ``num`` images each, ``val`` and
``test`` with ``num // 2`` each, half of them anomalous and with a mask. Two images in a row are of one patient.
"""

import csv
from pathlib import Path

import cv2
import numpy as np

HEADER = ("image", "role", "label", "patient", "mask")


def write_anomaly(
    root: Path, size: int = 64, num: int = 24, contamination: float = 0.5, seed: int = 0, mixed_labels: bool = True
) -> Path:
    """Write images/, masks/ and anomaly.csv below ``root``; returns ``root``. Masks only of anomalous images."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    counts = {"mixed": num, "healthy": num, "val": num // 2, "test": num // 2}
    shares = {"mixed": contamination, "healthy": 0.0, "val": 0.5, "test": 0.5}
    rows = []
    for role, count in counts.items():
        for i in range(count):
            label = int(i < round(count * shares[role]))
            picture, mask = draw_anomaly(rng, size, bool(label))
            name = f"{role}_{i:03d}.png"
            cv2.imwrite(str(root / "images" / name), picture)
            if label:
                cv2.imwrite(str(root / "masks" / name), mask)
            known = "" if role == "mixed" and not mixed_labels else label
            rows.append((name, role, known, f"{role}{i // 2}", name if label else ""))
    with (root / "anomaly.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return root


def draw_anomaly(rng: np.random.Generator, size: int, anomalous: bool) -> tuple[np.ndarray, np.ndarray]:
    """Smooth texture (H, W) uint8, with a bright blob where ``anomalous``, and the blob's mask (H, W), 0 or 255."""
    texture = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), size / 24)
    picture = 90 + 15 * texture / texture.std() + rng.normal(0, 4, (size, size))
    mask = np.zeros((size, size), np.uint8)
    if anomalous:
        x, y = (int(v) for v in rng.integers(size // 4, 3 * size // 4, 2))
        cv2.circle(mask, (x, y), int(rng.integers(size // 10, size // 6 + 1)), 255, -1)
        picture = picture + 90 * (mask > 0)
    return np.clip(picture, 0, 255).astype(np.uint8), mask
