"""Pictures of results: functions take plain arrays and return a matplotlib figure, or save it to a file."""

from .confusion import plot_confusion_matrix
from .sheet import SheetTile, prediction_sheet

__all__ = ["SheetTile", "plot_confusion_matrix", "prediction_sheet"]
