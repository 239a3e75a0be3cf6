"""Two views of an image and its saliency map, as SSiT (Huang et al., JBHI 2024) makes them, with OpenCV.

Image and map share all geometry; colours change in the image only. In a config, in this order:
``dict(type='medkit.LoadMedicalImage')``, ``dict(type='medkit.LoadSaliency')``,
``dict(type='medkit.SaliencyTwoViews', size=224)``, ``dict(type='medkit.PackSaliencyViews')``.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform

from medkit.data.transforms.photometric import blur, jitter_colours, solarize, to_grey
from medkit.errors import ConfigError, DatasetError
from medkit.registry import TRANSFORMS

Pair = tuple[float, float]


@TRANSFORMS.register_module()
class LoadSaliency(BaseTransform):
    """Set ``saliency`` (H, W) uint8 from ``map_path``; the image must have been loaded before.

    Raises:
        DatasetError: the map cannot be read, or is of another size than the image.
    """

    def transform(self, results: dict) -> dict:
        """Load the map."""
        found = cv2.imread(results["map_path"], cv2.IMREAD_GRAYSCALE)
        shape = tuple(results["img"].shape[:2])
        if found is None or found.shape != shape:
            state = "cannot be decoded" if found is None else f"is {found.shape[1]} x {found.shape[0]}"
            raise DatasetError(
                f"saliency map {results['map_path']} {state}; expected {shape[1]} x {shape[0]} as its image "
                f"{results['img_path']}; write it again with `python -m data_prep saliency SET --overwrite`"
            )
        results["saliency"] = found
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@TRANSFORMS.register_module()
class SaliencyTwoViews(BaseTransform):
    """Set ``views``: two pairs (image (size, size, 3) uint8 BGR, map (size, size) uint8).

    The order and the defaults are the published ones for fundus photographs at 224 pixels: crop and resize, colour
    jitter, grey, blur, solarize, rotation, mirroring. Values that differ between the views come in pairs. Differences:
    OpenCV in place of Pillow, and what the crop shrinks is averaged over areas in place of a triangle.

    For ultrasound: ``crop_scale=((0.4, 0.8), (0.8, 1.0)), rotation=0, vflip_prob=0`` (the probe is on top, a small
    crop misses the lesion), ``jitter=(0.4, 0.4, 0, 0)`` (grey images) and a smaller ``blur_sigma``.

    Args:
        size: side of the views.
        crop_scale: per view, range of the share of the image's area that is cut out.
        crop_ratio: range of width over height of the crop.
        jitter: largest relative change of brightness, contrast and saturation, and shift of the hue (at most 0.5).
        jitter_prob: probability of the colour jitter.
        grey_prob: probability that colours are dropped.
        blur_sigma: range of the blur's standard deviation in pixels of the view.
        blur_prob: per view.
        solarize_prob: per view; values from 128 on are inverted.
        rotation: largest angle in degrees; nearest pixel, black corners.
        rotation_prob: probability of the rotation.
        hflip_prob: probability of mirroring left and right.
        vflip_prob: probability of mirroring top and bottom.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        size: int = 224,
        *,
        crop_scale: Sequence[Pair] = ((0.08, 0.8), (0.8, 1.0)),
        crop_ratio: Pair = (3 / 4, 4 / 3),
        jitter: Sequence[float] = (0.4, 0.4, 0.2, 0.1),
        jitter_prob: float = 0.8,
        grey_prob: float = 0.2,
        blur_sigma: Pair = (0.1, 2.0),
        blur_prob: Pair = (1.0, 0.1),
        solarize_prob: Pair = (0.0, 0.2),
        rotation: float = 180.0,
        rotation_prob: float = 0.8,
        hflip_prob: float = 0.5,
        vflip_prob: float = 0.5,
    ) -> None:
        self.size, self.crop_scale, self.crop_ratio = size, crop_scale, crop_ratio
        self.jitter, self.jitter_prob, self.grey_prob = jitter, jitter_prob, grey_prob
        self.blur_sigma, self.blur_prob, self.solarize_prob = blur_sigma, blur_prob, solarize_prob
        self.rotation, self.rotation_prob = rotation, rotation_prob
        self.hflip_prob, self.vflip_prob = hflip_prob, vflip_prob
        self._check()

    def _check(self) -> None:
        chances = (self.jitter_prob, self.grey_prob, self.rotation_prob, self.hflip_prob, self.vflip_prob)
        fits = (
            self.size >= 1
            and len(self.crop_scale) == len(self.blur_prob) == len(self.solarize_prob) == 2
            and all(0 < low <= high <= 1 for low, high in self.crop_scale)
            and 0 < self.crop_ratio[0] <= self.crop_ratio[1]
            and len(self.jitter) == 4
            and all(0 <= value <= 1 for value in self.jitter)
            and self.jitter[3] <= 0.5
            and 0 < self.blur_sigma[0] <= self.blur_sigma[1]
            and 0 <= self.rotation <= 180
            and all(0 <= chance <= 1 for chance in (*chances, *self.blur_prob, *self.solarize_prob))
        )
        if not fits:
            raise ConfigError(
                f"{self!r}: expected size >= 1, two crop_scale in (0, 1], crop_ratio and blur_sigma above 0 and "
                "rising, four jitter values in [0, 1] (hue up to 0.5), rotation in [0, 180], probabilities in "
                "[0, 1], those of blur and solarize per view; correct the pipeline in the config"
            )

    def transform(self, results: dict) -> dict:
        """Make both views of ``img`` and ``saliency``."""
        results["views"] = [self._view(results["img"], results["saliency"], number) for number in range(2)]
        return results

    def _view(self, image: np.ndarray, found: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        box = draw_crop(image.shape[:2], self.crop_scale[number], self.crop_ratio)
        image, found = (_cut(array, box, self.size) for array in (image, found))
        image = self._change_colours(image, number)
        if self.rotation and np.random.rand() < self.rotation_prob:
            angle = np.random.uniform(-self.rotation, self.rotation)
            image, found = (_rotate(array, angle) for array in (image, found))
        for axis, chance in ((1, self.hflip_prob), (0, self.vflip_prob)):
            if np.random.rand() < chance:
                image, found = (cv2.flip(array, axis) for array in (image, found))
        return image, found

    def _change_colours(self, image: np.ndarray, number: int) -> np.ndarray:
        if np.random.rand() < self.jitter_prob:
            image = jitter_colours(image, self.jitter)
        if np.random.rand() < self.grey_prob:
            image = to_grey(image)
        if np.random.rand() < self.blur_prob[number]:
            image = blur(image, np.random.uniform(*self.blur_sigma))
        if np.random.rand() < self.solarize_prob[number]:
            image = solarize(image)
        return image

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"


@TRANSFORMS.register_module()
class PackSaliencyViews(BaseTransform):
    """Tensors of ``views``: ``inputs``, each (3, H, W) uint8 BGR, and ``saliency``, each (1, H, W) float 0..1."""

    def transform(self, results: dict) -> dict:
        """Return these two keys and nothing else, for ``default_collate``."""
        images = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image, _ in results["views"]]
        maps = [torch.from_numpy(found).unsqueeze(0).float().div_(255) for _, found in results["views"]]
        return {"inputs": images, "saliency": maps}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def draw_crop(shape: tuple[int, int], scale: Pair, ratio: Pair) -> tuple[int, int, int, int]:
    """Random box (left, top, right, bottom), drawn as torchvision's RandomResizedCrop does."""
    height, width = shape
    for _ in range(10):
        area = height * width * np.random.uniform(*scale)
        aspect = np.exp(np.random.uniform(*np.log(ratio)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = np.random.randint(height - h + 1), np.random.randint(width - w + 1)
            return left, top, left + w, top + h
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _cut(array: np.ndarray, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    left, top, right, bottom = box
    part = array[top:bottom, left:right]
    shrinks = min(part.shape[:2]) >= size
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _rotate(array: np.ndarray, angle: float) -> np.ndarray:
    height, width = array.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return cv2.warpAffine(array, matrix, (width, height), flags=cv2.INTER_NEAREST)
