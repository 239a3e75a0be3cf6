"""Metrics that mmengine's evaluator runs."""

from .lesion_metric import LesionMetric

__all__ = ["LesionMetric"]
