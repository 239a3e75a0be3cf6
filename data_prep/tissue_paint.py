"""H&E-like tissue painted in memory: textures at 1 micrometre per pixel, and the stains of laboratories.

Command: ``python -m data_prep.slide_phantom OUT`` (tiles) and ``python -m data_prep.wsi_phantom OUT`` (whole slides).

Tissues differ in texture: fibres, glands, crowded irregular nuclei, crowded small round nuclei, empty cells. But for
fat the mean amounts of both stains are alike for all tissues, so that colour misleads.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MEAN_AMOUNTS = np.array([0.2, 0.36])  # of haematoxylin and eosin in any tissue but fat
UNIT = 64  # micrometres: numbers of nuclei, glands and cells are those of a square of this side
NOISE = 512  # larger textures mirror a noise of this side


@dataclass(frozen=True)
class Stain:
    """Optical density (2, 3) of haematoxylin and eosin in B, G, R at unit amount, and the light (3,) without tissue."""

    density: np.ndarray
    light: np.ndarray

    def colour(self, amounts: np.ndarray) -> np.ndarray:
        """(H, W, 3) BGR in 0..255 of (H, W, 2) amounts (Beer-Lambert)."""
        return self.light * np.exp(-amounts.clip(0) @ self.density)


def sample_stain(rng: np.random.Generator) -> Stain:
    """One laboratory's day: hues a little off, amounts off by a factor."""
    hues = np.array([[0.29, 0.70, 0.65], [0.11, 0.99, 0.07]]) + rng.normal(0, 0.035, (2, 3))
    hues = hues.clip(0.02) / np.linalg.norm(hues.clip(0.02), axis=1, keepdims=True)
    amount = np.exp(rng.normal(0, [[0.15], [0.15]]))
    return Stain((hues * amount).astype(np.float32), rng.uniform(228, 250, 3).astype(np.float32))


def _noise(rng: np.random.Generator, size: int, grain: float, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise (size, size) of mean 0 and deviation 1; ``stretch`` above 1 makes fibres of a random direction."""
    if size > NOISE:
        small = _noise(rng, NOISE, grain, stretch)
        times = -(-size // (2 * NOISE))
        small = np.vstack([small, small[::-1]])
        return np.tile(np.hstack([small, small[:, ::-1]]), (times, times))[:size, :size]
    big = 2 * size
    noise = cv2.GaussianBlur(rng.normal(size=(big, big)).astype(np.float32), (0, 0), grain * stretch, sigmaY=grain)
    turn = cv2.getRotationMatrix2D((size, size), float(rng.uniform(0, 180)), 1)
    noise = cv2.warpAffine(noise, turn, (big, big))[size // 2 :, size // 2 :][:size, :size]
    return (noise - noise.mean()) / noise.std()


def _nuclei(
    rng: np.random.Generator, image: np.ndarray, centres: np.ndarray, radius: float, spread: float, ratio: float
) -> None:
    """Add ellipses of haematoxylin; ``spread`` varies their size and amount, ``ratio`` is short over long axis."""
    for x, y in centres:
        long = radius * float(np.exp(rng.normal(0, spread)))
        axes = long, max(long * ratio * float(np.exp(rng.normal(0, spread / 2))), 1.0)
        angle, amount = float(rng.uniform(0, 180)), float(0.75 * np.exp(rng.normal(0, 0.15 + spread / 2)))
        fixed = (round(x * 16), round(y * 16)), (round(axes[0] * 16), round(axes[1] * 16))
        cv2.ellipse(image, *fixed, angle, 0, 360, amount, -1, cv2.LINE_8, 4)


def _count(rng: np.random.Generator, low: int, high: int, size: int) -> int:
    """How many things of which a square of UNIT has ``low`` to ``high - 1`` a square of ``size`` has."""
    return round(int(rng.integers(low, high)) * (size / UNIT) ** 2)


def _stroma(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    eosin = 0.5 + 0.16 * _noise(rng, size, 1.3, 8)
    nuclei = np.zeros((size, size), np.float32)
    _nuclei(rng, nuclei, rng.uniform(0, size, (_count(rng, 6, 16, size), 2)), 5.5, 0.15, 0.3)
    return nuclei, eosin


def _epithelium(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    eosin = 0.42 + 0.06 * _noise(rng, size, 2)
    nuclei = np.zeros((size, size), np.float32)
    for _ in range(_count(rng, 2, 4, size)):  # glands: an empty lumen in a ring of regular nuclei
        centre, lumen = rng.uniform(0, size, 2), rng.uniform(5, 10)
        cv2.circle(eosin, tuple(int(c) for c in centre), int(lumen), 0.05, -1)
        ring = np.arange(0, 2 * np.pi, 7.5 / (lumen + 7))
        _nuclei(rng, nuclei, centre + (lumen + 7) * np.stack([np.cos(ring), np.sin(ring)], 1), 3.2, 0.06, 0.85)
    return nuclei, eosin


def _tumour(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    eosin = 0.36 + 0.08 * _noise(rng, size, 3)
    nuclei = np.zeros((size, size), np.float32)
    _nuclei(rng, nuclei, rng.uniform(0, size, (_count(rng, 30, 50, size), 2)), 4.4, 0.32, 0.75)
    return nuclei, eosin


def _fat(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    eosin = np.full((size, size), 0.35, np.float32)
    nuclei = np.zeros((size, size), np.float32)
    _nuclei(rng, nuclei, rng.uniform(0, size, (_count(rng, 1, 5, size), 2)), 4, 0.15, 0.35)
    cells = rng.uniform(-8, size + 8, (round(18 * (size / UNIT) ** 2), 2))
    for x, y in cells.round().astype(int).tolist():  # over all that lies between
        radius = int(rng.integers(9, 15))
        for image, inside in ((eosin, 0.03), (nuclei, 0.0)):
            cv2.circle(image, (x, y), radius, inside, -1)
        cv2.circle(eosin, (x, y), radius, 0.4, 1)
    return nuclei, eosin


def _lymphoid(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    eosin = 0.36 + 0.06 * _noise(rng, size, 2)
    nuclei = np.zeros((size, size), np.float32)
    _nuclei(rng, nuclei, rng.uniform(0, size, (_count(rng, 70, 100, size), 2)), 2.7, 0.08, 0.92)
    return nuclei, eosin


_DRAW = {"stroma": _stroma, "epithelium": _epithelium, "tumour": _tumour, "fat": _fat, "lymphoid": _lymphoid}


def paint(rng: np.random.Generator, tissue: str, size: int) -> np.ndarray:
    """Amounts (size, size, 2) of haematoxylin and eosin in a texture of one tissue at 1 micrometre per pixel."""
    nuclei, eosin = _DRAW[tissue](rng, size)
    haematoxylin = cv2.GaussianBlur(nuclei * (1 + 0.25 * _noise(rng, size, 1)) + 0.05, (0, 0), 0.7)
    return np.stack([haematoxylin, cv2.GaussianBlur(eosin * (1 - 0.6 * (nuclei > 0)), (0, 0), 0.7)], axis=2).clip(0)


def balance(tissue: str, amounts: np.ndarray) -> np.ndarray:
    """Factors (2,) that give the texture the mean amounts of every other tissue; 1 for fat."""
    return np.ones(2) if tissue == "fat" else MEAN_AMOUNTS / amounts.mean(axis=(0, 1))


def render_tile(rng: np.random.Generator, tissue: str, stain: Stain, size: int = UNIT) -> tuple[np.ndarray, float]:
    """A tile (size, size, 3) BGR uint8 of one tissue, and the part of it that absorbs light."""
    amounts = paint(rng, tissue, size)
    thickness = np.exp(rng.normal(0, 0.3) + rng.normal(0, 0.1, 2))
    amounts *= thickness * balance(tissue, amounts)
    image = stain.colour(amounts.astype(np.float32)) + rng.normal(0, 2.5, (size, size, 3))
    return image.clip(0, 255).round().astype(np.uint8), float((amounts.sum(axis=2) > 0.12).mean())
