"""Reinhard's stain normalisation in CIE L*a*b*, on tissue only; and quarter turns.

Reinhard et al., "Color Transfer between Images", IEEE CG&A 2001, worked in Ruderman's l-alpha-beta space; pathology
(Gildenblat and Klaiman, arXiv 1905.08139, among others) means L*a*b*, and so do we. In a config:
``dict(type='medkit.ReinhardNormalize', target=dict(mean=[65, 35, -20], std=[12, 12, 10]), statistics='stains.json')``;
``python tools/stain_statistics.py TABLE OUT.json`` writes that file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from medkit.errors import ConfigError, DatasetError
from medkit.registry import TRANSFORMS

_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, 2 degrees
BACKGROUND_L = 90.0  # glass is lighter

Statistics = tuple[np.ndarray, np.ndarray]


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """L* in 0..100, a*, b* of sRGB in 0..1, both (..., 3) in the same float type."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92).astype(rgb.dtype)
    xyz = linear @ (_XYZ / _WHITE[:, None]).T.astype(rgb.dtype)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(rgb.dtype)


def lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """The inverse of `rgb_to_lab`; colours that a screen does not have are clipped to 0..1."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, (y - lab[..., 2] / 200).clip(0)], axis=-1)
    xyz = np.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787)
    linear = xyz @ np.linalg.inv(_XYZ / _WHITE[:, None]).T
    rgb = np.where(linear > 0.0031308, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return rgb.clip(0, 1).astype(lab.dtype)


def tissue_mask(lab: np.ndarray, background_l: float = BACKGROUND_L) -> np.ndarray:
    """Pixels (H, W) darker than glass. Otsu's threshold would cut a tile that is all tissue in two."""
    return lab[..., 0] < background_l


def lab_statistics(lab: np.ndarray, mask: np.ndarray) -> Statistics:
    """Mean (3,) and population standard deviation (3,) of the masked pixels."""
    pixels = lab[mask].astype(np.float64)
    return pixels.mean(axis=0), pixels.std(axis=0)


def reinhard(
    rgb: np.ndarray, source: Statistics, target: Statistics, mask: np.ndarray, sigma_floor: float = 1.0
) -> np.ndarray:
    """Move mean and spread of L*, a*, b* from ``source`` to ``target`` where ``mask`` is set; (H, W, 3) RGB in 0..1.

    A source spread below ``sigma_floor`` is taken for ``sigma_floor``, lest the noise of a flat tile be blown up.
    """
    (mean, std), (target_mean, target_std) = source, target
    scale = target_std / np.maximum(std, sigma_floor)
    moved = (rgb_to_lab(rgb) - mean) * scale + target_mean
    return np.where(mask[..., None], lab_to_rgb(moved.astype(rgb.dtype)), rgb)


def slide_statistics(images: Iterable[np.ndarray], background_l: float = BACKGROUND_L) -> Statistics:
    """Statistics of all tissue pixels of BGR uint8 tiles, taken one by one, so that any number fits."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for image in images:
        lab = rgb_to_lab(_to_float(image))
        pixels = lab[tissue_mask(lab, background_l)].astype(np.float64)
        count, total, squares = count + len(pixels), total + pixels.sum(axis=0), squares + (pixels**2).sum(axis=0)
    if not count:
        raise DatasetError(f"no pixel of these tiles is darker than L*={background_l}; raise background_l")
    mean = total / count
    return mean, np.sqrt((squares / count - mean**2).clip(0))


def _to_float(image: np.ndarray) -> np.ndarray:
    """BGR uint8 to RGB float32 in 0..1."""
    return image[..., ::-1].astype(np.float32) / 255


@TRANSFORMS.register_module()
class ReinhardNormalize(BaseTransform):
    """Give a tile (BGR uint8) the colours of a target; glass stays as it is.

    Statistics are taken over tissue only, since glass would move the mean with its share, and in float32, since
    OpenCV's 8-bit L*a*b* is off by up to 2 grey levels. Those of the whole slide (``statistics``) are better than those
    of the tile, which make a tile of fat look like one of muscle. A dark target darkens everything.

    Args:
        target: ``dict(mean=[L, a, b], std=[L, a, b])``.
        statistics: JSON file ``{slide: {mean, std}}``; the sample's ``slide`` is looked up. None for ``'tile'``.
        scope: ``'slide'`` or ``'tile'``.
        sigma_floor: smallest spread of the source that is believed.
        background_l: pixels lighter than this L* are glass.

    Raises:
        ConfigError: arguments that do not fit; DatasetError: file missing, or a slide that it does not have.
    """

    def __init__(
        self,
        target: Mapping[str, Sequence[float]],
        statistics: str | None = None,
        scope: str = "slide",
        sigma_floor: float = 1.0,
        background_l: float = BACKGROUND_L,
    ) -> None:
        if scope not in ("slide", "tile") or (scope == "slide") != (statistics is not None):
            raise ConfigError(
                f"ReinhardNormalize: scope={scope!r} and statistics={statistics!r}; give the file that "
                "tools/stain_statistics.py wrote, or scope='tile' without one"
            )
        if not sigma_floor > 0:
            raise ConfigError(f"ReinhardNormalize: sigma_floor={sigma_floor}; expected a number above 0, such as 1")
        self.target, self.scope = _statistics(target, "target"), scope
        self.slides = read_statistics(statistics) if statistics else {}
        self.sigma_floor, self.background_l = sigma_floor, background_l

    def transform(self, results: dict) -> dict:
        """Replace ``img``; a tile without tissue is left alone."""
        rgb = _to_float(results["img"])
        lab = rgb_to_lab(rgb)
        mask = tissue_mask(lab, self.background_l)
        if mask.any():
            source = lab_statistics(lab, mask) if self.scope == "tile" else self._of_slide(results)
            rgb = reinhard(rgb, source, self.target, mask, self.sigma_floor)
            results["img"] = np.ascontiguousarray((rgb[..., ::-1] * 255).round().astype(np.uint8))
        return results

    def _of_slide(self, results: dict) -> Statistics:
        slide = results.get("slide")
        if slide not in self.slides:
            raise DatasetError(
                f"no stain statistics for slide {slide!r}; run tools/stain_statistics.py on the table that lists it"
            )
        return self.slides[slide]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scope={self.scope!r}, sigma_floor={self.sigma_floor})"


def read_statistics(path: str | Path) -> dict[str, Statistics]:
    """Mean and spread by slide, from the file that ``tools/stain_statistics.py`` wrote."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"stain statistics {path} cannot be read ({error}); write them again") from error
    return {slide: _statistics(values, f"{path}: {slide}") for slide, values in content.items()}


def _statistics(values: Mapping[str, Sequence[float]], where: str) -> Statistics:
    mean, std = (np.asarray(values.get(name, ()), float) for name in ("mean", "std"))
    if mean.shape != (3,) or std.shape != (3,) or (std < 0).any():
        raise ConfigError(f"{where} is {dict(values)}; expected dict(mean=[L, a, b], std=[L, a, b])")
    return mean, std


@TRANSFORMS.register_module()
class RandomQuarterTurn(BaseTransform):
    """Turn by 0, 90, 180 or 270 degrees, and mirror or not: all eight alike, since a tile has no upright."""

    @cache_randomness
    def _draw(self) -> tuple[int, bool]:
        return int(np.random.randint(4)), bool(np.random.randint(2))

    def transform(self, results: dict) -> dict:
        """Turn ``img``."""
        turns, mirrored = self._draw()
        image = np.rot90(results["img"], turns)
        results["img"] = np.ascontiguousarray(image[:, ::-1] if mirrored else image)
        results["img_shape"] = results["img"].shape[:2]
        return results
