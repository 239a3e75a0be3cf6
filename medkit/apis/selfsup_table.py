"""The table of a benchmark of self-supervision: methods by fine-tuning, linear probe and k-NN, in the papers' shape.

A cell holds the mean and the standard deviation (n - 1): over the pre-trainings of a method where there are several,
each being the mean of its probes' seeds, else over the seeds of the probe. Its interval is that of the mean when
patients of the test split are drawn again; it leaves out the chance in training.
Written by ``python tools/benchmark_selfsup.py``, which also joins tables (``--merge``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medkit.apis.selfsup_protocol import Record
from medkit.data.graded import GradedSet
from medkit.errors import ConfigError
from medkit.evaluation.functional import Resampling, percentiles, resample
from medkit.evaluation.functional.grading import GRADING_METRICS, grading_draws

__all__ = ["Benchmark", "Cell", "cells", "check_records"]

NUM_DRAWS = 1000


@dataclass(frozen=True)
class Benchmark:
    """Records and the test images that they are of.

    Attributes:
        dataset: what was read, in words.
        labels: ``(M,)`` of the test images.
        patients: ``(M,)``.
        images: ``(M,)`` file names.
        classes: names.
        ordinal: the classes have an order.
        records: outcomes.
        references: method -> the method that its ``gain`` is over: the same network untrained.
    """

    dataset: str
    labels: np.ndarray
    patients: np.ndarray
    images: tuple[str, ...]
    classes: tuple[str, ...]
    ordinal: bool
    records: tuple[Record, ...]
    references: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, graded: GradedSet, records: Iterable[Record], references: dict[str, str] | None = None) -> Benchmark:
        """Records on the test split of a set."""
        rows = graded.rows("test")
        images = tuple(Path(graded.files[i]).relative_to(Path(graded.root) / "images").as_posix() for i in rows)
        of_rows = (graded.labels[rows], graded.patients[rows], images)
        return cls(str(graded), *of_rows, graded.classes, graded.ordinal, check_records(records), references or {})

    def joined(self, other: Benchmark) -> Benchmark:
        """Both; a run that is in both with equal grades, such as an untrained network, counts once.

        Raises:
            ConfigError: they are of other images or settings, or one run has two outcomes.
        """
        if self.images != other.images or not np.array_equal(self.labels, other.labels):
            raise ConfigError(
                f"results are of other test images ({len(self.images)} and {len(other.images)}, or other labels); "
                "only results on the same prepared set make one table"
            )
        mine = {one.key: one for one in self.records}
        new = [
            one for one in other.records if not (one.key in mine and np.array_equal(one.grades, mine[one.key].grades))
        ]
        records, references = check_records((*self.records, *new)), self.references | other.references
        return replace(self, records=records, references=references)


@dataclass(frozen=True)
class Cell:
    """One method under one protocol, of the epoch (or k) chosen on validation, or of the last epoch.

    Attributes:
        method: row.
        protocol: with ``head`` and ``selected`` as in `Record`.
        head: ...
        selected: ...
        num_runs: pre-trainings.
        num_seeds: of the probe, for each.
        mean: metric -> mean over all.
        deviation: metric -> standard deviation, nan for one value.
        deviation_over: ``pre-trainings``, ``seeds`` or ``''``.
        interval: metric -> 95 % by patient.
        gain: kappa less that of the reference, and its 95 % interval on the same draws; None without a reference.
    """

    method: str
    protocol: str
    head: str
    selected: str
    num_runs: int
    num_seeds: int
    mean: dict[str, float]
    deviation: dict[str, float]
    deviation_over: str
    interval: dict[str, tuple[float, float]]
    gain: tuple[float, float, float] | None = None


def cells(benchmark: Benchmark, num_draws: int = NUM_DRAWS) -> list[Cell]:
    """Means, deviations and intervals of every method under every protocol, in the order of the records."""
    groups: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in benchmark.records:
        groups.setdefault((record.method, record.protocol, record.head, record.selected), []).append(record)
    taken = resample(benchmark.patients.tolist(), len(benchmark.labels), num_draws)
    draws = {key: _draws(benchmark, records, taken) for key, records in groups.items()}
    found = []
    for key, records in groups.items():
        base = (benchmark.references.get(key[0], ""), *key[1:])
        gain = None
        if base in groups:
            difference = draws[key]["kappa"] - draws[base]["kappa"]
            gain = (_mean(records, "kappa") - _mean(groups[base], "kappa"), *percentiles(difference))
        found.append(_cell(key, records, {name: percentiles(draws[key][name]) for name in GRADING_METRICS}, gain))
    return found


def check_records(records: Iterable[Record]) -> tuple[Record, ...]:
    """The records; `ConfigError` where one is there twice, or one column would mix settings or seeds."""
    settings: dict[tuple[str, str], Record] = {}
    seen: set[tuple] = set()
    found = tuple(records)
    for record in found:
        if record.key in seen:
            raise ConfigError(
                f"{record.method} ({record.run}), {record.protocol} {record.head}, seed {record.seed} is there twice, "
                "with different outcomes; make one of them again"
            )
        seen.add(record.key)
        first = settings.setdefault((record.protocol, record.head), record)
        differ = sorted(n for n, value in record.settings.items() if first.settings.get(n) != value)
        if differ:
            raise ConfigError(
                f"{record.protocol} {record.head}: {differ[0]} is {record.settings[differ[0]]} for {record.method} and "
                f"{first.settings.get(differ[0])} for {first.method}; methods are compared with equal settings: "
                "name it on the command line, or make two tables"
            )
    return found


def _draws(benchmark: Benchmark, records: list[Record], taken: Resampling) -> dict[str, np.ndarray]:
    """Mean over the records of each draw, ``(B,)`` by metric."""
    parts = [
        grading_draws(
            benchmark.labels, one.grades, one.scores, len(benchmark.classes), taken, ordinal=benchmark.ordinal
        )
        for one in records
    ]
    return {name: np.mean([part[name] for part in parts], axis=0) for name in GRADING_METRICS}


def _mean(records: Iterable[Record], metric: str) -> float:
    return float(np.mean([record.metrics[metric] for record in records]))


def _cell(
    key: tuple[str, str, str, str],
    records: list[Record],
    interval: dict[str, tuple[float, float]],
    gain: tuple[float, float, float] | None,
) -> Cell:
    by_run: dict[str, list[Record]] = {}
    for record in records:
        by_run.setdefault(record.run, []).append(record)
    units = list(by_run.values()) if len(by_run) > 1 else [[record] for record in records]
    values = {name: [_mean(unit, name) for unit in units] for name in GRADING_METRICS}
    return Cell(
        *key,
        num_runs=len(by_run),
        num_seeds=len({record.seed for record in records}),
        mean={name: float(np.mean(values[name])) for name in GRADING_METRICS},
        deviation={name: float(np.std(values[name], ddof=1)) if len(units) > 1 else np.nan for name in GRADING_METRICS},
        deviation_over="" if len(units) < 2 else "pre-trainings" if len(by_run) > 1 else "seeds",
        interval=interval,
        gain=gain,
    )
