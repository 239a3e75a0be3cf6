"""Which classes are malignant: the two-class view of the liver report, and of breast sets."""

from __future__ import annotations

from collections.abc import Sequence

from medkit.errors import ConfigError

__all__ = ["MALIGNANT", "malignant_indices"]

MALIGNANT = ("HCC", "metastasis", "malignant")


def malignant_indices(classes: Sequence[str], malignant: Sequence[str] | None) -> list[int]:
    """Indices of the malignant classes; empty when there is no two-class view.

    Args:
        classes: All class names.
        malignant: Names of the malignant ones; None takes those of `MALIGNANT` that exist.

    Raises:
        ConfigError: A name was given that is not a class.
    """
    unknown = [name for name in malignant or () if name not in classes]
    if unknown:
        raise ConfigError(
            f"malignant names {unknown}, but the classes are {list(classes)}; correct `malignant` of LesionMetric"
        )
    names = MALIGNANT if malignant is None else malignant
    indices = [index for index, name in enumerate(classes) if name in names]
    return indices if len(indices) < len(classes) else []
