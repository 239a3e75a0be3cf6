"""Models of volumes (B, 1, D, H, W)."""

from medkit.models.volumes.conv_autoencoder3d import ConvAutoencoder3D
from medkit.models.volumes.preprocessor import VolumeDataPreprocessor
from medkit.models.volumes.reconstruction import ReconstructionLoss

__all__ = ["ConvAutoencoder3D", "ReconstructionLoss", "VolumeDataPreprocessor"]
