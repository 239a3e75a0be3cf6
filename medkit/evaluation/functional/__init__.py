"""Numeric core of the evaluation: plain functions on arrays, NumPy and SciPy only.

`match` is the one pass over a data set; all else reads from what it returns. See docs/evaluation.md.
"""

from .average_precision import AREAS, IOU_THRS, RECALLS, ClassHits, average_precision, coco_hits
from .bootstrap import Bootstrap, Difference, bootstrap, compare, percentiles
from .boxes import ImageBoxes, box_areas, box_cover, box_iou
from .boxset import BoxSet, Overlaps
from .calibration import Calibration, calibration, calibration_of
from .curves import FROC_RATES, ConfidenceCurves, Froc, confidence_curves, froc
from .matching import LesionEvents, LesionStatus, Matches, PredStatus, Thresholds, lesion_events, match, match_boxes
from .matrix import lesion_matrices_per_image, lesion_matrix, one_to_one_matrix
from .resampling import Resampling, resample
from .table import BinaryView, ClassTable, binary_view, class_table
from .threshold import SCORE_GRID, ClassThresholds, ThresholdChoice, choose_class_thresholds, choose_threshold

__all__ = [
    "AREAS",
    "FROC_RATES",
    "IOU_THRS",
    "RECALLS",
    "SCORE_GRID",
    "BinaryView",
    "Bootstrap",
    "BoxSet",
    "Calibration",
    "ClassHits",
    "ClassTable",
    "ClassThresholds",
    "ConfidenceCurves",
    "Difference",
    "Froc",
    "ImageBoxes",
    "LesionEvents",
    "LesionStatus",
    "Matches",
    "Overlaps",
    "PredStatus",
    "Resampling",
    "ThresholdChoice",
    "Thresholds",
    "average_precision",
    "binary_view",
    "bootstrap",
    "box_areas",
    "box_cover",
    "box_iou",
    "calibration",
    "calibration_of",
    "choose_class_thresholds",
    "choose_threshold",
    "class_table",
    "coco_hits",
    "compare",
    "confidence_curves",
    "froc",
    "lesion_events",
    "lesion_matrices_per_image",
    "lesion_matrix",
    "match",
    "match_boxes",
    "one_to_one_matrix",
    "percentiles",
    "resample",
]
