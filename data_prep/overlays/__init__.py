"""Burned-in overlays: found as a mask, removed by filling in. docs/data_prep_overlays.md says how well."""

from .fill import fill_mask, remove_overlay
from .find import find_overlay
from .types import Overlay

__all__ = ["Overlay", "fill_mask", "find_overlay", "remove_overlay"]
