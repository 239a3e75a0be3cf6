"""Anomaly detection without lesion labels."""

from medkit.models.anomaly.alad import ALAD
from medkit.models.anomaly.alocc import ALOCC
from medkit.models.anomaly.base import AnomalyModel
from medkit.models.anomaly.fanogan import FAnoGAN
from medkit.models.anomaly.ganomaly import GANomaly
from medkit.models.anomaly.healthygan import HealthyGAN
from medkit.models.anomaly.padim import PaDiM
from medkit.models.anomaly.patchcore import PatchCore
from medkit.models.anomaly.preprocessor import AnomalyDataPreprocessor, scale_images

__all__ = [
    "ALAD",
    "ALOCC",
    "AnomalyDataPreprocessor",
    "AnomalyModel",
    "FAnoGAN",
    "GANomaly",
    "HealthyGAN",
    "PaDiM",
    "PatchCore",
    "scale_images",
]
