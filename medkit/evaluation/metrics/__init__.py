"""Metrics that mmengine's evaluator runs."""

from .anomaly_metric import AnomalyMetric
from .bag_metric import BagMetric
from .lesion_metric import ImageResult, LesionMetric
from .volume_metric import VolumeMetric

__all__ = ["AnomalyMetric", "BagMetric", "ImageResult", "LesionMetric", "VolumeMetric"]
