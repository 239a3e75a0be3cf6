"""Metrics that mmengine's evaluator runs."""

from .anomaly_metric import AnomalyMetric
from .lesion_metric import ImageResult, LesionMetric

__all__ = ["AnomalyMetric", "ImageResult", "LesionMetric"]
