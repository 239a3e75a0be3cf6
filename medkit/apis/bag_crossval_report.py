"""A cross-validation of bags as files: table.md, scores.csv, predictions.csv of every held-out bag, results.json.

Written by ``python tools/crossval.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkit.apis.bag_crossval import BagCrossval
from medkit.apis.crossval_run import CrossvalSettings
from medkit.apis.fold_tables import (
    Table,
    cell,
    column,
    differences,
    long_rows,
    mean_and_deviation,
    number_text,
    section,
)
from medkit.evaluation.bag_predictions import gathered, write_bag_predictions
from medkit.evaluation.functional.bags import bag_bootstrap, by_patient
from medkit.evaluation.functional.bootstrap import Bootstrap, compare
from medkit.evaluation.tables import LEVEL, without_nan, write_csv, write_json

__all__ = ["markdown", "pooled", "write_bag_crossval"]

METRICS = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "f1": "F1", "accuracy": "accuracy",
           "instance_auc": "instance AUC"}  # fmt: skip
DRAWS = 1000


def write_bag_crossval(results: Sequence[BagCrossval], settings: CrossvalSettings) -> str:
    """Write all files to ``settings.out``; returns the Markdown."""
    folder = Path(settings.out)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [pooled(result, settings.seed) for result in results]
    text = markdown(results, drawn, settings)
    (folder / "table.md").write_text(text, encoding="utf-8")
    write_csv(folder / "scores.csv", long_rows(results))
    write_json(folder / "results.json", without_nan(_content(results, drawn, settings)))
    every = [one for result in results for one in result.held_out()]
    folds = [(result.name, n) for result in results for n, fold in enumerate(result.records) for _ in fold.predictions]
    more: dict[str, list[Any]] = {"config": [name for name, _ in folds], "fold": [number for _, number in folds]}
    write_bag_predictions(folder / "predictions.csv", every, results[0].classes, more)
    return text


def pooled(result: BagCrossval, seed: int = 0) -> Bootstrap:
    """Metrics of the held-out patients of all folds together, with draws of patients."""
    return bag_bootstrap(by_patient(gathered(result.held_out()), result.aggregation), DRAWS, seed)


def markdown(results: Sequence[BagCrossval], drawn: Sequence[Bootstrap], settings: CrossvalSettings) -> str:
    """All tables with what a reader has to know."""
    tables = [_main_table(results, drawn), _pooled_table(results, drawn), _fold_table(results)]
    notes = _notes(results, drawn, settings)
    return "\n".join(["# Cross-validation\n", *map(section, tables), *(f"- {note}" for note in notes)]) + "\n"


def _main_table(results: Sequence[BagCrossval], drawn: Sequence[Bootstrap]) -> Table:
    """Mean and deviation over folds, pooled AUROC, differences from the first config, and the largest class."""
    known = {name for result in results for fold in result.scores for name in fold}
    names = {name: title for name, title in METRICS.items() if name in known}
    rows = []
    for result, one in zip(results, drawn, strict=True):
        interval = _interval(one.estimates["auroc"], *one.interval("auroc", LEVEL))
        rows.append([result.name, *(cell(column(result, name), name) for name in names), interval])
    gaps = [compare(one, drawn[0], LEVEL)["auroc"] for one in drawn[1:]]
    for row, gap in zip(differences(results, names), gaps, strict=True):
        rows.append([*row, f"{_interval(gap.estimate, gap.low, gap.high, '+')}, p {gap.p:.3f}"])
    majority = cell(column(results[0], "majority"), "majority")
    floor = {"auroc": "0.500", "instance_auc": "0.500", "accuracy": majority}
    floor["balanced_accuracy"] = f"{1 / len(results[0].classes):.3f}"
    rows.append(["largest class", *(floor.get(name, "") for name in names), "0.500"])
    return "Folds, mean ± deviation", ["config", *names.values(), "AUROC of all held out, 95 %"], rows


def _pooled_table(results: Sequence[BagCrossval], drawn: Sequence[Bootstrap]) -> Table:
    """The other metrics of all held-out patients together, with intervals."""
    named = {"balanced_accuracy": "balanced accuracy", "f1": "F1", "accuracy": "accuracy"}
    named |= {f"f1_{number}": f"F1 {name}" for number, name in enumerate(results[0].classes)}
    rows = [
        [result.name, *(_interval(one.estimates[name], *one.interval(name, LEVEL)) for name in named)]
        for result, one in zip(results, drawn, strict=True)
    ]
    return "All held-out patients together, with 95 % intervals", ["config", *named.values()], rows


def _fold_table(results: Sequence[BagCrossval]) -> Table:
    names = {"patients": "patients", "bags": "bags", "majority": "majority", **METRICS}
    rows = []
    for result in results:
        for number, scores in enumerate(result.scores):
            cells = [f"{scores[n]:.0f}" if n in ("patients", "bags") else number_text(scores.get(n), n) for n in names]
            rows.append([result.name, str(number), *cells])
    return "Folds", ["config", "fold", *names.values()], rows


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    low_text, high_text = (number_text(end, "", sign) for end in (low, high))
    return f"{number_text(value, '', sign)} [{low_text}, {high_text}]"


def _notes(results: Sequence[BagCrossval], drawn: Sequence[Bootstrap], settings: CrossvalSettings) -> list[str]:
    first, found = results[0], results[0].held_out()
    judged = {"mean": "mean probability of their bags", "max": "their most positive bag", "none": "each bag alone"}
    notes = [
        f"{len(first.records)} folds by patient, seed {settings.seed}: {len(found)} bags of "
        f"{len({one.case_id for one in found})} patients, each held out once; judged by: {judged[first.aggregation]}. "
        "Nothing is validated or chosen by held-out patients: each fold's last checkpoint is judged.",
        f"Intervals: {drawn[0].resampling.num_draws} draws of {drawn[0].resampling.unit}; the folds' models stay as "
        "they are, so the chance of training is not in them. Differences: fold by fold, and of all held-out patients "
        "on the same draws.",
        "All held out together ranks probabilities of different models against each other; where folds are calibrated "
        "differently it may lie below the folds' mean.",
    ]
    if any(len(set(one.interval("auroc", LEVEL))) == 1 for one in drawn):
        notes.append("An interval of one point comes of drawing from a perfect result; it does not mean certainty.")
    if any("instance_auc" in one for one in first.scores):
        notes.append("Instance AUC: attention against the instances' labels within each bag that holds both kinds.")
    told = {one.name: [record.facts.get("train_seconds") or np.nan for record in one.records] for one in results}
    times = ", ".join(f"{name} {sum(seconds):.0f} s" for name, seconds in told.items() if sum(seconds) == sum(seconds))
    return [*notes, f"Training of all folds: {times}."] if times else notes


def _content(
    results: Sequence[BagCrossval], drawn: Sequence[Bootstrap], settings: CrossvalSettings
) -> dict[str, Any]:
    configs: dict[str, Any] = {}
    for result, one in zip(results, drawn, strict=True):
        spread = {name: mean_and_deviation(column(result, name)) for name in result.scores[0]}
        gaps = compare(one, drawn[0], LEVEL) if one is not drawn[0] else {}
        configs[result.name] = {
            "mean": {name: both[0] for name, both in spread.items()},
            "deviation": {name: both[1] for name, both in spread.items()},
            "all_held_out": {name: [value, *one.interval(name, LEVEL)] for name, value in one.estimates.items()},
            "less_first": {name: [gap.estimate, gap.low, gap.high, gap.p] for name, gap in gaps.items()},
            "folds": [
                {"scores": scores, "held_out": sorted({bag.case_id for bag in record.predictions}), **record.facts}
                for scores, record in zip(result.scores, result.records, strict=True)
            ],
        }
    about = {"folds": settings.folds, "seed": settings.seed, "classes": list(results[0].classes)}
    return {**about, "aggregation": results[0].aggregation, "configs": configs}
