"""Tables of a cross-validation: mean and deviation over folds, differences fold by fold, scanners; published rows.

Written by ``python tools/crossval.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medkit.apis.crossval import CrossvalResult
from medkit.apis.crossval_scores import scanner_scores
from medkit.apis.fold_tables import Table, cell, column, differences, number_text

__all__ = ["PUBLISHED", "fold_table", "main_table", "retrieval_table", "scanner_table"]

CLUSTERS = {"accuracy": "k-means accuracy", "balanced_accuracy": "balanced", "ari": "ARI", "nmi": "NMI",
            "silhouette": "silhouette", "train_accuracy": "by training centroids",
            "train_balanced_accuracy": "balanced", "rmse": "RMSE %", "rmse_brain": "in brain"}  # fmt: skip
RETRIEVAL = {"precision_1": "P@1", "precision_5": "P@5", "map": "mAP", "held_out_precision_1": "P@1, held out",
             "held_out_precision_5": "P@5, held out", "held_out_map": "mAP, held out"}  # fmt: skip
SCANNER = {"num_test": "scans", "majority": "majority", "accuracy": "k-means accuracy", "precision_5": "P@5",
           "rmse": "RMSE %", "same": "same scanner among 5", "same_chance": "by chance"}  # fmt: skip
PUBLISHED = {  # Onga et al. 2019, 1795 scans of ADNI2
    "published, plain": {"accuracy": "0.547 ± 0.032", "rmse": "6.49"},
    "published, metric": {"accuracy": "0.786 ± 0.087", "rmse": "7.11"},
}


def main_table(results: Sequence[CrossvalResult]) -> Table:
    """Clusters and reconstruction, a row for each config; below them differences, the majority, the published rows."""
    rows = [[result.name, *(cell(column(result, name), name) for name in CLUSTERS)] for result in results]
    rows += differences(results, CLUSTERS)
    majority, shuffled = (cell(column(results[0], name), name) for name in ("majority", "accuracy_chance"))
    floors = {"largest class": {"accuracy": majority, "train_accuracy": majority}, "shuffled": {"accuracy": shuffled}}
    rows += [[title, *(values.get(name, "") for name in CLUSTERS)] for title, values in floors.items()]
    rows += [[title, *(values.get(name, "") for name in CLUSTERS)] for title, values in PUBLISHED.items()]
    return "Clusters and reconstruction", ["config", *CLUSTERS.values()], rows


def retrieval_table(results: Sequence[CrossvalResult]) -> Table:
    """Neighbours of held-out scans among training scans, and among held-out scans of other subjects."""
    names = {name: title for name, title in RETRIEVAL.items() if all(name in one for one in results[0].scores)}
    rows = [[result.name, *(cell(column(result, name), name) for name in names)] for result in results]
    rows += differences(results, names)
    rows.append(["chance", *(cell(column(results[0], one), one) for one in map(_chance_name, names))])
    return "Retrieval of scans of other subjects", ["config", *names.values()], rows


def scanner_table(results: Sequence[CrossvalResult], seed: int = 0) -> Table | None:
    """Scores within each scanner, the mean over folds; None where there is one."""
    rows = []
    for result in results:
        of_folds = [scanner_scores(record, len(result.classes), seed) for record in result.records]
        for scanner in sorted({name for fold in of_folds for name in fold}):
            there = [fold[scanner] for fold in of_folds if scanner in fold]
            means = {name: float(np.mean([one[name] for one in there])) for name in SCANNER}
            means["num_test"] = sum(one["num_test"] for one in there)
            cells = [f"{means[name]:.0f}" if name == "num_test" else number_text(means[name], name) for name in SCANNER]
            rows.append([result.name, scanner or "not said", *cells])
    return ("Each scanner", ["config", "scanner", *SCANNER.values()], rows) if rows else None


def fold_table(results: Sequence[CrossvalResult]) -> Table:
    """Fold by fold."""
    names = {"num_test": "scans", "majority": "majority", **CLUSTERS, "precision_5": "P@5", "map": "mAP"}
    rows = []
    for result in results:
        for number, scores in enumerate(result.scores):
            cells = [f"{scores[n]:.0f}" if n == "num_test" else number_text(scores.get(n), n) for n in names]
            rows.append([result.name, str(number), *cells])
    return "Folds", ["config", "fold", *names.values()], rows


def _chance_name(name: str) -> str:
    """What a random ranking reaches of a metric of `RETRIEVAL`."""
    prefix = "held_out_" if name.startswith("held_out_") else ""
    return f"{prefix}chance_map" if name.endswith("map") else f"{prefix}chance"
