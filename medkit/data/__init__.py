"""Data sets, transforms, samplers, and checks of data against a config."""

from medkit.data.lesion_dataset import LesionDataset

__all__ = ["LesionDataset"]
