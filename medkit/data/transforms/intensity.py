"""Gain, contrast and gamma of an ultrasound image through one look-up table: changed at random, or made alike.

Grey stays grey, and a 512 x 512 image takes about 0.3 ms, where mmdet's ``PhotoMetricDistortion`` computes
colour in float32 for ten times as long. Command: ``python tools/benchmark.py pipeline``. In a config:
``dict(type='medkit.UltrasoundIntensity', brightness=0.2, contrast=0.3, gamma=(0.7, 1.5), prob=0.8)``.
"""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from medkit.errors import ConfigError
from medkit.registry import TRANSFORMS


@TRANSFORMS.register_module()
class UltrasoundIntensity(BaseTransform):
    """What another examiner would have set at the machine: gain, dynamic range, grey map.

    Grey level v in [0, 1] becomes ``(v ** gamma - 0.5) * contrast + 0.5 + brightness``. Near black the
    change fades out, so that the surroundings of the sector and the padding stay black.

    Args:
        brightness: Largest shift, in parts of the full scale; drawn from [-brightness, brightness].
        contrast: Largest change of the slope about mid-grey; the factor is drawn from [1-contrast,
            1+contrast].
        gamma: Range of the exponent, drawn uniformly in its logarithm.
        prob: Probability that an image is changed.
        fade: Grey levels above black over which the change fades in; 0 shifts black as well.
    """

    def __init__(
        self,
        brightness: float = 0.2,
        contrast: float = 0.3,
        gamma: tuple[float, float] = (0.7, 1.5),
        prob: float = 0.8,
        fade: int = 16,
    ) -> None:
        if not (
            brightness >= 0
            and 0 <= contrast < 1
            and 0 < gamma[0] <= gamma[1]
            and 0 <= prob <= 1
            and fade >= 0
        ):
            raise ConfigError(
                f"UltrasoundIntensity got brightness={brightness}, contrast={contrast}, gamma={gamma}, "
                f"prob={prob}, fade={fade}; expected brightness >= 0, contrast in [0, 1), 0 < gamma[0] <= "
                "gamma[1], prob in [0, 1], fade >= 0; correct the pipeline in the config"
            )
        self.brightness, self.contrast, self.gamma = brightness, contrast, tuple(gamma)
        self.prob, self.fade = prob, fade

    @cache_randomness
    def _draw(self) -> tuple[float, float, float] | None:
        """Shift, slope and exponent of one image; None leaves it as it is."""
        if np.random.rand() >= self.prob:
            return None
        shift = np.random.uniform(-self.brightness, self.brightness)
        slope = np.random.uniform(1 - self.contrast, 1 + self.contrast)
        return shift, slope, float(np.exp(np.random.uniform(*np.log(self.gamma))))

    def transform(self, results: dict) -> dict:
        """Change ``img``, uint8 of shape (H, W) or (H, W, C); every channel alike."""
        image = _uint8(results["img"], type(self).__name__)
        drawn = self._draw()
        if drawn is not None:
            shift, slope, gamma = drawn
            results["img"] = cv2.LUT(image, intensity_table(shift, slope, gamma, self.fade))
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, "
            f"gamma={self.gamma}, prob={self.prob}, fade={self.fade})"
        )


@TRANSFORMS.register_module()
class StandardizeIntensity(BaseTransform):
    """Give every image the same mean and contrast, where gain and exposure are the operator's choice.

    Grey level v becomes 127.5 + 127.5 (v - mean) / (deviations * std), cut to 0..255; mean and std are of all pixels
    and channels of the image. An image of one level becomes mid-grey. What differs in mean brightness alone is lost.

    Args:
        deviations: standard deviations from mid-grey to black and to white.
    """

    def __init__(self, deviations: float = 2.5) -> None:
        if not deviations > 0:
            raise ConfigError(f"StandardizeIntensity: deviations={deviations}, expected more than 0")
        self.deviations = deviations

    def transform(self, results: dict) -> dict:
        """Change ``img``, uint8 of shape (H, W) or (H, W, C)."""
        image = _uint8(results["img"], type(self).__name__)
        mean, std = float(image.mean()), float(image.std())
        level = (np.arange(256) - mean) / max(self.deviations * std, 1e-3)
        results["img"] = cv2.LUT(image, np.clip(127.5 + 127.5 * level + 0.5, 0, 255).astype(np.uint8))
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(deviations={self.deviations})"


def _uint8(image: np.ndarray, step: str) -> np.ndarray:
    """The image, or an error that says where the step belongs."""
    if image.dtype != np.uint8:
        raise ConfigError(
            f"{step} got an image of {image.dtype}; expected uint8; put it before any step "
            "that makes floats (to_float32=False on loading)"
        )
    return image


def intensity_table(shift: float, slope: float, gamma: float, fade: int = 16) -> np.ndarray:
    """Look-up table (256,) uint8; the change grows from nothing at black to the whole at level ``fade``."""
    level = np.linspace(0, 1, 256)
    change = (level**gamma - 0.5) * slope + 0.5 + shift - level
    if fade:
        change *= np.minimum(np.arange(256) / fade, 1)
    return np.clip((level + change) * 255 + 0.5, 0, 255).astype(np.uint8)
