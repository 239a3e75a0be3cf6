"""Metrics that mmengine's evaluator runs."""

from .lesion_metric import ImageResult, LesionMetric

__all__ = ["ImageResult", "LesionMetric"]
