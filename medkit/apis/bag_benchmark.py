"""Heads for bags on one set, each trained with several seeds and judged on the same test bags: one table.

Every training goes through the same `train` as ``python tools/train.py``, on the split train alone; nothing is
validated or chosen, the last checkpoint is judged. What is done is kept, what was killed goes on.
Command: ``python tools/benchmark_bags.py DATA_ROOT --heads abmil dsmil --seeds 0 1 2``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config

from medkit.apis.bag_forward import bag_dataset, bag_model, predict_bags
from medkit.apis.bag_records import BagFold, bag_aggregation, bag_scores, read_bag_fold, scores_line, write_bag_fold
from medkit.apis.cli import parse_value
from medkit.apis.config import load_config
from medkit.apis.crossval_run import kept_or_made, without_validation
from medkit.apis.fold_tables import Table, cell, column, long_rows, number_text, section
from medkit.apis.repeated import settings_hash, train_again
from medkit.data.bag_table import BagTable
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError
from medkit.evaluation.bag_predictions import gathered
from medkit.evaluation.functional.bags import bag_bootstrap, by_patient
from medkit.evaluation.tables import LEVEL, write_csv

__all__ = ["HEADS", "BagBenchmark", "HeadSettings", "run_bag_benchmark", "write_bag_benchmark"]

HEADS = ("mean_max", "max_instance", "abmil", "clam_sb", "clam_mb", "dsmil", "transmil", "sparseconvmil")
METRICS = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "instance_auc": "instance AUC"}
DRAWS = 1000


@dataclass(frozen=True)
class HeadSettings:
    """What is trained, and on what.

    Attributes:
        data_root: folder of bags with the splits train and test.
        out: folder of everything that is written; training by training it makes the run resumable.
        heads: NAME trains NAME_slides.py of ``config_dir``, FILE.py that config; ``:key=value`` behind it, as often as
            wanted, changes the config for this row alone.
        seeds: of the training.
        config_dir: folder of the configs.
        cfg_options: changes to every config.
        quick: two iterations each.
        amp: bfloat16.
    """

    data_root: str
    out: str
    heads: tuple[str, ...] = HEADS
    seeds: tuple[int, ...] = (0, 1, 2)
    config_dir: str = "configs"
    cfg_options: dict = field(default_factory=dict)
    quick: bool = False
    amp: bool = False


@dataclass(frozen=True)
class BagBenchmark:
    """One head over all seeds: its name, classes, how bags make a patient, what each training left, and its scores."""

    name: str
    classes: tuple[str, ...]
    aggregation: str
    records: tuple[BagFold, ...]
    scores: tuple[dict[str, float], ...]


def run_bag_benchmark(settings: HeadSettings, say: Callable[[str], None] = print) -> list[BagBenchmark]:
    """Train and judge whatever is not done yet.

    Raises:
        ConfigError: no such config, a head named twice, or ``out`` holds results of other settings.
        DatasetError, TrainingError: see `medkit.apis.training.train`.
    """
    if not settings.seeds or len(set(settings.heads)) < len(settings.heads):
        raise ConfigError(f"heads {settings.heads}, seeds {settings.seeds}; name each head once, and a seed or more")
    for head in settings.heads:
        _config(settings, head, 0)  # what is wrong is said before anything is trained
    results: list[BagBenchmark] = []
    for head in settings.heads:
        cfg = _config(settings, head, settings.seeds[0])
        bags, aggregation = bag_dataset(cfg, split="test", cache_mb=0).bags, bag_aggregation(cfg)
        if not results:
            say(f"test: {bags}")
        records, scores = [], []
        for seed in settings.seeds:
            records.append(_training(settings, head, seed, bags))
            scores.append(bag_scores(records[-1].predictions, bags.classes, aggregation))
            say(f"{head}, seed {seed}: {scores_line(scores[-1])}")
        results.append(BagBenchmark(head, tuple(bags.classes), aggregation, tuple(records), tuple(scores)))
    return results


def _training(settings: HeadSettings, head: str, seed: int, bags: BagTable) -> BagFold:
    """Read what is there, or train and judge."""
    cfg = _config(settings, head, seed)
    same = settings_hash(cfg, bags.ids.tolist(), bags.labels.tolist())

    def make() -> BagFold:
        trained = copy.deepcopy(cfg)
        without_validation(trained)
        seconds = train_again(trained)
        checkpoint = resolve_checkpoint(cfg.work_dir)
        found = tuple(predict_bags(bag_model(cfg, checkpoint), cfg, bag_dataset(cfg, split="test")))
        return BagFold(found, dict(train_seconds=seconds, seed=seed, checkpoint=checkpoint.name))

    return kept_or_made(Path(cfg.work_dir) / "test.npz", same, read_bag_fold, make, write_bag_fold)


def _config(settings: HeadSettings, head: str, seed: int) -> Config:
    name, *words = head.split(":")
    path = Path(name) if name.endswith(".py") else Path(settings.config_dir) / f"{name}_slides.py"
    if not path.is_file():
        known = sorted(p.name.removesuffix("_slides.py") for p in Path(settings.config_dir).glob("*_slides.py"))
        raise ConfigError(f"head {head!r}: there is no {path}; name a config, or one of {', '.join(known)}")
    if not all("=" in word for word in words):
        raise ConfigError(f"head {head!r}: expected NAME or NAME:key=value, for instance abmil:model.head.gated=False")
    own = {key: parse_value(value) for key, _, value in (word.partition("=") for word in words)}
    return load_config(
        path,
        work_dir=Path(settings.out) / re.sub(r"[^\w.-]+", "_", head) / f"seed{seed}",
        data_root=settings.data_root,
        cfg_options={"seed": seed, "log_level": "WARNING", **settings.cfg_options, **own},
        quick=settings.quick,
        amp=settings.amp,
    )


def write_bag_benchmark(results: Sequence[BagBenchmark], settings: HeadSettings) -> str:
    """Write table.md and scores.csv (a line for each head, seed and metric) to ``out``; returns the Markdown."""
    folder = Path(settings.out)
    text = section(_table(results)) + "".join(f"\n- {note}" for note in _notes(results, settings)) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    rows = long_rows(results)
    write_csv(folder / "scores.csv", [["head", "seed", *rows[0][2:]], *(_seeded(row, settings) for row in rows[1:])])
    return text


def _seeded(row: list, settings: HeadSettings) -> list:
    """With the seed in place of its number."""
    return [row[0], settings.seeds[row[1]], *row[2:]]


def _table(results: Sequence[BagBenchmark]) -> Table:
    known = {name for result in results for scores in result.scores for name in scores}
    names = {name: title for name, title in METRICS.items() if name in known}
    rows = []
    for result in results:
        seconds = np.array([record.facts.get("train_seconds") or np.nan for record in result.records])
        time = "-" if np.isnan(seconds).all() else f"{np.nanmean(seconds):.0f} s"
        rows.append([result.name, *(cell(column(result, name), name) for name in names), _interval(result), time])
    return "Test bags, mean ± deviation over seeds", ["head", *names.values(), "AUROC of one, 95 %", "training"], rows


def _interval(result: BagBenchmark) -> str:
    """Of the first seed, over draws of patients."""
    drawn = bag_bootstrap(by_patient(gathered(result.records[0].predictions), result.aggregation), DRAWS)
    low, high = drawn.interval("auroc", LEVEL)
    return f"{number_text(drawn.estimates['auroc'], '')} [{number_text(low, '')}, {number_text(high, '')}]"


def _notes(results: Sequence[BagBenchmark], settings: HeadSettings) -> list[str]:
    found = results[0].records[0].predictions
    cases = len({one.case_id for one in found})
    return [
        f"{settings.data_root}: {len(found)} test bags of {cases} cases; seeds {', '.join(map(str, settings.seeds))} "
        "of the training, always the last checkpoint. Options of all: "
        f"{', '.join(f'{key}={value}' for key, value in settings.cfg_options.items()) or 'none'}.",
        f"AUROC of one: the first seed's, with {DRAWS} draws of cases. Instance AUC: attention against the instances' "
        "labels within each bag that holds both kinds; absent: a head without attention.",
    ]
