"""Anomaly detection without lesion labels."""

from medkit.models.anomaly.base import AnomalyModel
from medkit.models.anomaly.healthygan import HealthyGAN
from medkit.models.anomaly.preprocessor import AnomalyDataPreprocessor, scale_images

__all__ = ["AnomalyDataPreprocessor", "AnomalyModel", "HealthyGAN", "scale_images"]
