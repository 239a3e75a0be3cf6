"""Old arguments of mmselfsup's transforms whose name or arguments changed in mmpretrain."""

from collections.abc import Callable, Sequence

from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from medkit.errors import ConfigError


def random_resized_crop(
    size: int | Sequence[int],
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    **kwargs: object,
) -> BaseTransform:
    """``RandomResizedCrop`` with the old names of its arguments."""
    crop = TRANSFORMS.get("RandomResizedCrop")
    return crop(scale=size, crop_ratio_range=scale, aspect_ratio_range=ratio, **kwargs)


def random_gaussian_blur(sigma_min: float, sigma_max: float, prob: float = 0.5) -> BaseTransform:
    """``RandomGaussianBlur`` became ``GaussianBlur``; sigma is drawn evenly from the range."""
    blur = TRANSFORMS.get("GaussianBlur")
    return blur(magnitude_range=(sigma_min, sigma_max), magnitude_std="inf", prob=prob)


def random_solarize(threshold: int = 128, prob: float = 0.5) -> BaseTransform:
    """``RandomSolarize`` became ``Solarize``."""
    return TRANSFORMS.get("Solarize")(thr=threshold, prob=prob)


def pack_selfsup_inputs(
    key: str = "img",
    algorithm_keys: Sequence[str] = (),
    pseudo_label_keys: Sequence[str] = (),
    meta_keys: Sequence[str] = (),
) -> BaseTransform:
    """``PackSelfSupInputs`` became ``PackInputs``."""
    if pseudo_label_keys:
        raise ConfigError(
            f"PackSelfSupInputs(pseudo_label_keys={list(pseudo_label_keys)}) has no counterpart in "
            "mmpretrain; use mmpretrain.PackInputs with algorithm_keys"
        )
    pack = TRANSFORMS.get("PackInputs")
    return pack(input_key=key, algorithm_keys=tuple(algorithm_keys), meta_keys=tuple(meta_keys))


RENAMED_TRANSFORMS: dict[str, Callable[..., BaseTransform]] = {
    "RandomResizedCrop": random_resized_crop,
    "RandomGaussianBlur": random_gaussian_blur,
    "RandomSolarize": random_solarize,
    "PackSelfSupInputs": pack_selfsup_inputs,
}
