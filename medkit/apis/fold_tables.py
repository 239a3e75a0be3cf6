"""Tables over the folds of a cross-validation: mean and deviation, differences fold by fold, one line per number.

Used by ``python tools/crossval.py``, for volumes and for bags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from medkit.visualization.markup import markdown_table

__all__ = ["FoldScores", "Table", "cell", "column", "differences", "long_rows", "mean_and_deviation", "number_text",
           "section"]  # fmt: skip

Table = tuple[str, list[str], list[list[str]]]  # heading, columns, cells


class FoldScores(Protocol):
    """One config over all folds: its name and the scores of each fold."""

    @property
    def name(self) -> str:
        """Of the config."""

    @property
    def scores(self) -> tuple[dict[str, float], ...]:
        """One dictionary for each fold."""


def mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of folds (F,)."""
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def column(result: FoldScores, name: str) -> np.ndarray:
    """One metric of all folds (F,); nan where a fold has none."""
    return np.array([scores.get(name, np.nan) for scores in result.scores])


def cell(values: np.ndarray, name: str, sign: str = "") -> str:
    """Mean ± deviation."""
    mean, deviation = mean_and_deviation(values)
    spread = "" if deviation != deviation else f" ± {number_text(deviation, name)}"
    return number_text(mean, name, sign) + spread


def number_text(value: float | None, name: str, sign: str = "") -> str:
    """As the tables write a number."""
    if value is None or value != value:
        return "-"
    return f"{value:{sign}.2f}" if name.startswith("rmse") else f"{value:{sign}.3f}"


def differences(results: Sequence[FoldScores], names: Iterable[str]) -> list[list[str]]:
    """Every further config less the first, taken fold by fold."""
    wanted, rows = list(names), []
    for result in results[1:]:
        found = {name: column(result, name) - column(results[0], name) for name in wanted}
        rows.append([f"{result.name} less {results[0].name}", *(cell(v, n, "+") for n, v in found.items())])
    return rows


def long_rows(results: Sequence[FoldScores]) -> list[list[Any]]:
    """One line for each config, fold and metric, with a header."""
    lines: list[list[Any]] = [["config", "fold", "metric", "value"]]
    for result in results:
        for fold, scores in enumerate(result.scores):
            lines += [[result.name, fold, name, "" if v != v else v] for name, v in scores.items()]
    return lines


def section(table: Table) -> str:
    """A heading and a Markdown table."""
    heading, head, cells = table
    return f"## {heading}\n\n{markdown_table(head, cells)}"
