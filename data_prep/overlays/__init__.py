"""Burned-in overlays: found as a mask, removed by inpainting."""

from .colour import Overlay, find_overlay, remove_overlay

__all__ = ["Overlay", "find_overlay", "remove_overlay"]
