"""Numeric core of the evaluation: plain functions on arrays, NumPy and SciPy only."""

from .boxes import ImageBoxes, box_areas, box_cover, box_iou
from .matching import LesionEvents, lesion_events, lesion_matrix, one_to_one_matrix
from .table import BinaryView, ClassTable, binary_view, class_table
from .threshold import SCORE_GRID, ThresholdChoice, choose_threshold

__all__ = [
    "SCORE_GRID",
    "BinaryView",
    "ClassTable",
    "ImageBoxes",
    "LesionEvents",
    "ThresholdChoice",
    "binary_view",
    "box_areas",
    "box_cover",
    "box_iou",
    "choose_threshold",
    "class_table",
    "lesion_events",
    "lesion_matrix",
    "one_to_one_matrix",
]
