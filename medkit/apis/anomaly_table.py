"""The table of a comparison of anomaly detectors: methods x (AUROC, precision, recall, specificity, F1).

A cell is the mean and the standard deviation (n - 1) over the trainings of a method. The interval of AUROC and of the
others is that of this mean when patients of the test images are drawn again (percentiles of 1000 draws); it leaves out
the chance in training. Written by ``python tools/benchmark_anomaly.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medkit.apis.anomaly_records import AnomalyBenchmark, AnomalyRecord
from medkit.errors import ConfigError
from medkit.evaluation.functional import Resampling, percentiles, resample
from medkit.evaluation.functional.anomaly import ANOMALY_METRICS, anomaly_draws, anomaly_metrics, choose_cutoff
from medkit.evaluation.functional.anomaly_pixels import PIXEL_METRICS

__all__ = ["COLUMNS", "CUTOFF_WORDS", "AnomalyRow", "cutoff_of", "rows_of"]

COLUMNS = {"auroc": "AUC", "ap": "AP", "precision": "precision", "recall": "recall", "specificity": "specificity",
           "f1": "F1"}  # fmt: skip
CUTOFF_WORDS = {
    "validation": "sensitivity = specificity on the validation images",
    "youden": "largest sensitivity + specificity on the validation images",
    "healthy": "95 % quantile of the healthy validation images",
    "test": "sensitivity = specificity on the TEST images themselves, as the authors of HealthyGAN: optimistic",
}
_MEASURED = ("ms_per_image", "peak_mb", "train_seconds")


@dataclass(frozen=True)
class AnomalyRow:
    """One method.

    Attributes:
        method: name.
        num_seeds: trainings; 0 for a score without training.
        mean: metric -> mean; image metrics, and pixel metrics and ``aucp`` where they are.
        deviation: metric -> standard deviation, nan for one training.
        interval: image metric -> 95 % by patient.
        measured: ms_per_image, peak_mb, train_seconds -> median over the trainings that tell.
        cutoffs: of each training.
    """

    method: str
    num_seeds: int
    mean: dict[str, float]
    deviation: dict[str, float]
    interval: dict[str, tuple[float, float]]
    measured: dict[str, float]
    cutoffs: tuple[float, ...]


def cutoff_of(benchmark: AnomalyBenchmark, record: AnomalyRecord, rule: str) -> float:
    """Cut-off of a training by a rule of `choose_cutoff`.

    Raises:
        ConfigError: unknown rule, or it cannot be applied to these images.
    """
    try:
        val = benchmark.labels("val"), record.val_scores
        return choose_cutoff(rule, val, (benchmark.labels("test"), record.test_scores))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def rows_of(benchmark: AnomalyBenchmark, rule: str = "validation", num_draws: int = 1000) -> list[AnomalyRow]:
    """A row for each method, the highest AUROC first, scores without training last."""
    groups: dict[str, list[AnomalyRecord]] = {}
    for record in benchmark.records:
        groups.setdefault(record.method, []).append(record)
    patients = benchmark.dataset.patients[benchmark.test]
    taken = resample(patients.tolist(), len(patients), num_draws)
    rows = [_row(benchmark, method, records, rule, taken) for method, records in groups.items()]
    return sorted(rows, key=lambda row: (row.num_seeds == 0, -row.mean["auroc"]))


def _row(
    benchmark: AnomalyBenchmark, method: str, records: list[AnomalyRecord], rule: str, taken: Resampling
) -> AnomalyRow:
    labels, values, draws, cutoffs = benchmark.labels("test"), [], [], []
    for record in records:
        cutoffs.append(cutoff_of(benchmark, record, rule))
        one = {name: float(v) for name, v in anomaly_metrics(labels, record.test_scores, cutoffs[-1]).items()}
        extra = {name: record.facts[name] for name in (*PIXEL_METRICS, "aucp") if record.facts.get(name) is not None}
        values.append({**one, **extra})
        draws.append(anomaly_draws(labels, record.test_scores, cutoffs[-1], taken))
    names = [name for name in values[0] if all(name in one for one in values)]
    table = {name: np.array([one[name] for one in values]) for name in names}
    told = {name: [r.facts[name] for r in records if r.facts.get(name) is not None] for name in _MEASURED}
    return AnomalyRow(
        method,
        num_seeds=0 if records[0].seed < 0 else len(records),
        mean={name: float(column.mean()) for name, column in table.items()},
        deviation={n: float(c.std(ddof=1)) if len(records) > 1 else float("nan") for n, c in table.items()},
        interval={n: percentiles(np.mean([draw[n] for draw in draws], axis=0)) for n in ANOMALY_METRICS},
        measured={name: float(np.median(column)) for name, column in told.items() if column},
        cutoffs=tuple(cutoffs),
    )
