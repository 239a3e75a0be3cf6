"""From a volume in RAS to the autoencoder's input: crop to the brain, resample, intensities to [0, 1].

Onga et al. 2019 (arXiv 1912.01824): skull-stripped, registered T1 images at 80 x 96 x 80. The steps are MONAI's (extra
``volumes``); registration and skull stripping come before (docs/volume_data.md). Used by `medkit.VolumeDataset`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from medkit.data.volume_read import Volume, need
from medkit.errors import ConfigError, DatasetError

_VERSION = 1  # of the steps below: another one makes every cache anew


@dataclass(frozen=True)
class VolumeRecipe:
    """How volumes become inputs.

    Attributes:
        target_size: voxels left-right, back-front, bottom-top of the result.
        crop: ``brain``: to the box of the brain, so that its size is lost; ``none``: leave the grid as it is.
        threshold: brain is what exceeds this share of the 99.5th percentile.
        margin: voxels left round the brain.
        spacing: side of a voxel in mm: resample to it, then pad or cut to ``target_size`` about the middle, which keeps
            proportions; None: stretch each axis to ``target_size``.
        percentiles: intensities that become 0 and 1; what lies outside is clipped.
        gamma: exponent on [0, 1]; None: 1.

    Raises:
        ConfigError: a value that cannot be meant.
    """

    target_size: tuple[int, ...] = (80, 96, 80)
    crop: str = "brain"
    threshold: float = 0.05
    margin: int = 1
    spacing: float | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    gamma: float | None = None

    def __post_init__(self) -> None:
        low, high = self.percentiles
        fits = {
            "target_size": len(self.target_size) == 3 and all(int(side) == side > 0 for side in self.target_size),
            "crop": self.crop in ("brain", "none"),
            "threshold": 0 <= self.threshold < 1,
            "margin": self.margin >= 0,
            "spacing": self.spacing is None or self.spacing > 0,
            "percentiles": 0 <= low < high <= 100,
            "gamma": self.gamma is None or self.gamma > 0,
        }
        for name, fine in fits.items():
            if not fine:
                raise ConfigError(
                    f"recipe: {name}={getattr(self, name)!r} cannot be; docs/volume_data.md has the range"
                )

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with the recipe."""
        text = json.dumps([_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha1(text.encode()).hexdigest()[:12]

    def __call__(self, volume: Volume) -> np.ndarray:
        """Prepare a volume.

        Returns:
            ``target_size`` float32 in [0, 1].

        Raises:
            DatasetError: no brain is found, it does not fit in ``target_size`` at ``spacing``, or both percentiles are
            one value.
        """
        import torch

        meta = need("monai.data").MetaTensor(
            torch.from_numpy(volume.array)[None], affine=torch.from_numpy(volume.affine)
        )
        for step in _steps(self):
            meta = step(meta)  # (1, X, Y, Z)
        return meta.numpy()[0].astype(np.float32)


@functools.lru_cache(maxsize=4)
def _steps(recipe: VolumeRecipe) -> tuple[Callable, ...]:
    transforms = need("monai.transforms")
    steps: list[Callable] = []
    if recipe.crop == "brain":
        select = functools.partial(_is_brain, share=recipe.threshold)
        steps.append(transforms.CropForeground(select, margin=recipe.margin, allow_smaller=True))
    if recipe.spacing is None:
        steps.append(transforms.Resize(recipe.target_size, mode="trilinear", anti_aliasing=True))
    else:
        steps.append(transforms.Spacing((recipe.spacing,) * 3, mode="bilinear", padding_mode="zeros"))
        steps.append(functools.partial(_refuse_cut, recipe=recipe))
        steps.append(transforms.ResizeWithPadOrCrop(recipe.target_size))
    low, high = recipe.percentiles
    steps.append(functools.partial(_refuse_flat, percentiles=(low, high)))
    steps.append(transforms.ScaleIntensityRangePercentiles(low, high, b_min=0.0, b_max=1.0, clip=True))
    if recipe.gamma is not None:
        steps.append(transforms.AdjustContrast(recipe.gamma))
    return tuple(steps)


def _is_brain(image, share: float):
    """(1, X, Y, Z) bool; of a skull-stripped image, whose background is 0."""
    found = image > share * float(np.percentile(image.numpy(), 99.5))
    if not bool(found.any()):
        raise DatasetError(
            f"no voxel exceeds {share:g} of the 99.5th percentile, so there is no brain; set crop='none'"
        )
    return found


def _refuse_cut(image, recipe: VolumeRecipe):
    """Pass an image on whose brain fits in the target."""
    voxels = np.argwhere(_is_brain(image, recipe.threshold).numpy()[0])  # (V, 3)
    middle = np.array(image.shape[1:]) // 2
    start = middle - np.array(recipe.target_size) // 2
    stop = start + recipe.target_size
    if (voxels.min(axis=0) < start).any() or (voxels.max(axis=0) >= stop).any():
        sides = (voxels.max(axis=0) - voxels.min(axis=0) + 1).tolist()
        raise DatasetError(
            f"at {recipe.spacing:g} mm the brain has {sides} voxels, target_size={recipe.target_size} would cut it; "
            "raise target_size or spacing, or set crop='brain' so that it stands in the middle"
        )
    return image


def _refuse_flat(image, percentiles: tuple[float, float]):
    """Pass an image on whose percentiles differ."""
    low, high = np.percentile(image.numpy(), percentiles)
    if not low < high:
        raise DatasetError(
            f"its {percentiles[0]:g}th and {percentiles[1]:g}th percentiles are both {low:g}, so there is nothing to "
            "scale; set crop='brain' where the brain is small in the volume, or other percentiles"
        )
    return image
