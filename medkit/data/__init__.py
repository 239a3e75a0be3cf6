"""Data sets, transforms, samplers, and checks of data against a config."""

from medkit.data.anchor_sampler import AnchorBatchSampler
from medkit.data.anomaly_images import AnomalyImages, AnomalyPairs
from medkit.data.bag_dataset import BagDataset
from medkit.data.balanced_sampler import ClassBalancedSampler
from medkit.data.feature_bank import FeatureBankDataset
from medkit.data.image_bags import ImageBagDataset
from medkit.data.lesion_dataset import LesionDataset
from medkit.data.paired import ImageVectors
from medkit.data.saliency_images import SaliencyImages
from medkit.data.subject_sampler import SubjectSampler
from medkit.data.tile_dataset import TilePairs
from medkit.data.unlabelled import UnlabelledImages
from medkit.data.volume_dataset import VolumeDataset

__all__ = [
    "AnchorBatchSampler",
    "AnomalyImages",
    "AnomalyPairs",
    "BagDataset",
    "ClassBalancedSampler",
    "FeatureBankDataset",
    "ImageBagDataset",
    "ImageVectors",
    "LesionDataset",
    "SaliencyImages",
    "SubjectSampler",
    "TilePairs",
    "UnlabelledImages",
    "VolumeDataset",
]
