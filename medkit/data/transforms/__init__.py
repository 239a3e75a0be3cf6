"""Transforms for medical images, each one a step of an mmcv pipeline: ``dict(type='medkit.NAME', ...)``."""

from medkit.data.transforms.geometric import RandomScaleShift
from medkit.data.transforms.intensity import StandardizeIntensity, UltrasoundIntensity
from medkit.data.transforms.loading import LoadMedicalImage, LoadResized
from medkit.data.transforms.saliency import LoadSaliency, PackSaliencyViews, SaliencyTwoViews
from medkit.data.transforms.square import SquareResize
from medkit.data.transforms.stain import RandomQuarterTurn, ReinhardNormalize

__all__ = [
    "LoadMedicalImage",
    "LoadResized",
    "LoadSaliency",
    "PackSaliencyViews",
    "RandomQuarterTurn",
    "RandomScaleShift",
    "ReinhardNormalize",
    "SaliencyTwoViews",
    "SquareResize",
    "StandardizeIntensity",
    "UltrasoundIntensity",
]
