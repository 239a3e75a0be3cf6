"""Draws of a bootstrap as weights of images: patients with replacement, all images of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Resampling", "resample"]


@dataclass(frozen=True)
class Resampling:
    """Weights of a bootstrap.

    Attributes:
        weights: ``(B, N)`` int16: how often each draw holds each image.
        unit: What was drawn, for the reader: '154 patients', '59 images (no patient is known)', ...
        num_units: How many of them there are.
        seed: Seed of the draws.
        patients: ``(N,)`` unit of each image: two models are comparable only where these agree.
    """

    weights: np.ndarray
    unit: str
    num_units: int
    seed: int
    patients: np.ndarray

    @property
    def num_draws(self) -> int:
        """Number of draws B."""
        return len(self.weights)


def resample(
    patients: Sequence[str | None] | None, num_images: int, num_draws: int = 1000, seed: int = 0
) -> Resampling:
    """Draw patients.

    Args:
        patients: Patient of each image; an image without one (None or '') stands for a patient of its own.
        num_images: Number of images N.
        num_draws: Number of draws B.
        seed: Seed of the draws.
    """
    given = [None] * num_images if patients is None else list(patients)
    if len(given) != num_images:
        raise ValueError(f"{len(given)} patients for {num_images} images; give one for each image, in their order")
    unknown = sum(not one for one in given)
    names = [f"patient {one}" if one else f"image {index}" for index, one in enumerate(given)]
    _, units = np.unique(names, return_inverse=True) if names else (None, np.zeros(0, np.int64))
    num_units = int(units.max()) + 1 if len(units) else 0
    unit = f"{num_units} patient{'s' * (num_units != 1)}"
    if unknown == num_images:
        unit = f"{num_images} images (no patient is known, so frames of one patient count as independent)"
    elif unknown:
        unit += f" ({unknown} images without one count as their own)"
    rng = np.random.default_rng(seed)
    chances = np.full(num_units, 1 / max(num_units, 1))
    counts = rng.multinomial(num_units, chances, size=num_draws) if num_units else np.zeros((num_draws, 0))
    return Resampling(counts.astype(np.int16)[:, units], unit, num_units, seed, units)
