"""A benchmark of self-supervision as files: results.json (read again to join tables), table.csv and table.md.

Written by ``python tools/benchmark_selfsup.py``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medkit.apis.selfsup_protocol import PROTOCOLS, Record
from medkit.apis.selfsup_table import Benchmark, Cell, cells
from medkit.errors import DatasetError
from medkit.evaluation.functional.grading import GRADING_METRICS
from medkit.evaluation.tables import without_nan, write_csv, write_json

__all__ = ["markdown", "read_benchmark", "write_benchmark"]

_NAMES = {"finetune": "fine-tune", "linear": "linear", "knn": "k-NN"}
_TITLES = {"kappa": "kappa", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auroc": "AUROC"}


def write_benchmark(benchmark: Benchmark, out: str | Path) -> str:
    """Write results.json, table.csv and table.md; returns the text of the last."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    found = cells(benchmark)
    plain: dict[str, Any] = vars(benchmark) | {
        "labels": benchmark.labels.tolist(),
        "patients": benchmark.patients.tolist(),
        "records": [record.to_json() for record in benchmark.records],
        "cells": [asdict(cell) for cell in found],
    }
    write_json(folder / "results.json", without_nan(plain))
    write_csv(folder / "table.csv", _rows(found))
    text = markdown(benchmark, found)
    (folder / "table.md").write_text(text, encoding="utf-8")
    return text


def read_benchmark(path: str | Path) -> Benchmark:
    """What `write_benchmark` wrote to a folder.

    Raises:
        DatasetError: no such file, or another one.
    """
    file = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Benchmark(
            dataset=content["dataset"],
            labels=np.array(content["labels"], np.int64),
            patients=np.array(content["patients"], dtype=str),
            images=tuple(content["images"]),
            classes=tuple(content["classes"]),
            ordinal=content["ordinal"],
            records=tuple(Record.from_json(one) for one in content["records"]),
            references=content["references"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{file} holds no results ({type(error).__name__}: {error}); give the --out of tools/benchmark_selfsup.py"
        ) from error


def markdown(benchmark: Benchmark, found: Sequence[Cell]) -> str:
    """Kappa of the chosen epoch in the papers' shape, then all metrics of each protocol; per cent."""
    best = {(c.method, c.protocol, c.head): c for c in found if c.selected == "best"}
    methods = list(dict.fromkeys(c.method for c in found))
    present = {(c.protocol, c.head) for c in found}
    columns = sorted(present, key=lambda pair: (PROTOCOLS.index(pair[0]), pair[1] != "regression"))
    kind = "Quadratic weighted kappa" if benchmark.ordinal else "Kappa (unweighted: the classes have no order)"
    rows = [["method", *(_column(pair) for pair in columns)]]
    rows += [[m, *(_cell(best.get((m, *pair)), "kappa") for pair in columns)] for m in methods]
    parts = [
        f"# {kind} on {len(benchmark.labels)} test images of {len(set(benchmark.patients))} patients, per cent",
        f"{benchmark.dataset}.",
        _layout(rows),
    ]
    for pair in columns:
        group = [best[(m, *pair)] for m in methods if (m, *pair) in best]
        final = {c.method: c for c in found if (c.protocol, c.head) == pair and c.selected == "final"}
        parts += [f"## {_column(pair)}", _layout(_details(group, final)), _settings(benchmark, pair)]
    return "\n\n".join([*parts, _legend(found)]) + "\n"


def _details(group: Sequence[Cell], final: dict[str, Cell]) -> list[list[str]]:
    gain, last = any(c.gain for c in group), bool(final)
    rows = [
        ["method", "n", "kappa", "95 % by patient"]
        + ["less untrained"] * gain
        + [_TITLES[name] for name in GRADING_METRICS[1:]]
        + ["kappa, last epoch"] * last
    ]
    for c in group:
        runs = f"{c.num_runs}" if c.protocol == "knn" else f"{c.num_runs} x {c.num_seeds}"
        change = "-" if c.gain is None else f"{_per_cent(c.gain[0], True)} [{_range(c.gain[1:])}]"
        rows.append(
            [c.method, runs, _cell(c, "kappa"), f"[{_range(c.interval['kappa'])}]"]
            + [change] * gain
            + [_cell(c, name) for name in GRADING_METRICS[1:]]
            + [_cell(final.get(c.method), "kappa")] * last
        )
    return rows


def _rows(found: Sequence[Cell]) -> list[list[Any]]:
    """Long form, one row for each cell and metric, not in per cent."""
    head = ["method", "protocol", "head", "selected", "metric", "mean", "deviation", "deviation_over"]
    rows: list[list[Any]] = [[*head, "low", "high", "pre_trainings", "seeds", "gain", "gain_low", "gain_high"]]
    for c in found:
        for name in GRADING_METRICS:
            values = [c.mean[name], c.deviation[name], c.deviation_over, *c.interval[name], c.num_runs, c.num_seeds]
            gain = c.gain if c.gain and name == "kappa" else ("", "", "")
            shown = ["" if value != value else value for value in (*values, *gain)]
            rows.append([c.method, c.protocol, c.head, c.selected, name, *shown])
    return rows


def _column(pair: tuple[str, str]) -> str:
    return _NAMES[pair[0]] + ("" if pair[1] == "vote" else f", {pair[1]}")


def _cell(cell: Cell | None, metric: str) -> str:
    if cell is None:
        return "-"
    spread = cell.deviation[metric]
    return _per_cent(cell.mean[metric]) + ("" if np.isnan(spread) else f" ± {100 * spread:.2f}")


def _per_cent(value: float, signed: bool = False) -> str:
    return "-" if np.isnan(value) else f"{100 * value:{'+' if signed else ''}.2f}"


def _range(pair: Sequence[float]) -> str:
    return f"{_per_cent(pair[0])}, {_per_cent(pair[1])}"


def _settings(benchmark: Benchmark, pair: tuple[str, str]) -> str:
    first = next(one for one in benchmark.records if (one.protocol, one.head) == pair)
    return "Settings: " + ", ".join(f"{name} {value}" for name, value in first.settings.items()) + "."


def _legend(found: Sequence[Cell]) -> str:
    over = {c.deviation_over for c in found} - {""}
    lines = [
        "n: pre-trainings (or initialisations) x seeds of the probe.",
        "Epoch and k are those of the highest kappa on the validation images.",
    ]
    if over:
        lines.append(f"±: standard deviation over {' or, where there is one, over '.join(sorted(over))}.")
    lines.append("Intervals: test patients drawn again 1000 times; they leave out the chance in training.")
    if any(c.gain for c in found):
        lines.append("Less untrained: kappa less that of the same network as initialised; chance where 0 is inside.")
    return "\n".join(lines)


def _layout(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table that also reads as text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
