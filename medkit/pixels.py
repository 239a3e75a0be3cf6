"""From deep pixels to 8 bits: the one rule that training (`medkit.LoadMedicalImage`) and predicting share."""

from __future__ import annotations

import numpy as np


def scale_to_uint8(
    values: np.ndarray, window: tuple[float, float] | None, percentiles: tuple[float, float]
) -> np.ndarray:
    """Map a window of values linearly to 0..255, in float32.

    Args:
        values: numbers of any shape and type, finite.
        window: lowest and highest value shown.
        percentiles: the window where ``window`` is None, in per cent of the values.
    """
    values = values.astype(np.float32, copy=False)
    low, high = np.percentile(values, percentiles) if window is None else window
    scaled = (values - low) * (255 / max(high - low, 1e-6))
    return np.clip(scaled + 0.5, 0, 255).astype(np.uint8)
