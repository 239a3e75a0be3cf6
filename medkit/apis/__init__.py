"""Calls that a script, a notebook or a server makes; the files in tools/ are thin command lines over them.

``from medkit.apis import AnomalyScorer, CaseIndex, Predictor`` loads each of them only when it is named.
"""

from importlib import import_module
from typing import Any

_HOMES = {"AnomalyScorer": "anomaly", "CaseIndex": "case_index", "Predictor": "predictor"}


def __getattr__(name: str) -> Any:
    """A class of `_HOMES`, imported now: torch, mmdet and faiss are not needed before."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
