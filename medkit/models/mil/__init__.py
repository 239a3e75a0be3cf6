"""Heads that classify bags: the tiles of a slide, the images of a study (multiple-instance learning)."""

from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import pad_bags, unpack_bags
from medkit.models.mil.pooling import PoolingMIL

__all__ = ["MILHead", "MILOutput", "PoolingMIL", "pad_bags", "unpack_bags"]
