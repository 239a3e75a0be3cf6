"""Cross-validation of volume autoencoders: each config is trained once per fold and meets unseen subjects.

Every fold is trained through the same `train` as ``python tools/train.py``; a fold that is done is kept and used
again, one that was killed goes on from its last checkpoint. Several configs are compared on the same folds.
Command: ``python tools/crossval.py CONFIG [CONFIG ...] --folds 5``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict

from medkit.apis.config import load_config
from medkit.apis.crossval_encode import encode_fold
from medkit.apis.crossval_folds import Fold, subject_folds
from medkit.apis.crossval_records import FoldRecord, read_fold, write_fold
from medkit.apis.crossval_scores import fold_scores
from medkit.apis.repeated import settings_hash, train_again
from medkit.data.checks import dataset_configs
from medkit.data.volume_table import VolumeSet
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError
from medkit.registry import DATASETS

__all__ = ["CrossvalResult", "CrossvalSettings", "run_crossval"]


@dataclass(frozen=True)
class CrossvalSettings:
    """What is trained and how it is divided.

    Attributes:
        configs: config files; their names name the rows of the table.
        out: folder of everything that is written; fold by fold it makes the run resumable.
        folds: how many.
        seed: of the folds and of k-means. Trainings keep their config's own.
        data_root: replaces that of the configs.
        cfg_options: further changes to every config.
        quick: two iterations on tiny volumes.
        amp: bfloat16.
    """

    configs: tuple[str, ...]
    out: str
    folds: int = 5
    seed: int = 0
    data_root: str | None = None
    cfg_options: dict = field(default_factory=dict)
    quick: bool = False
    amp: bool = False


@dataclass(frozen=True)
class CrossvalResult:
    """One config over all folds: its name, the set's classes, what each fold left, and the scores of each fold."""

    name: str
    classes: tuple[str, ...]
    records: tuple[FoldRecord, ...]
    scores: tuple[dict[str, float], ...]


def run_crossval(settings: CrossvalSettings, say: Callable[[str], None] = print) -> list[CrossvalResult]:
    """Train and evaluate whatever is not done yet.

    Raises:
        ConfigError: configs of one name or on different sets, or ``out`` holds results of other settings.
        DatasetError: the set cannot be divided, see `subject_folds`.
        TrainingError, WeightsError: see `medkit.apis.training.train`.
    """
    names = [Path(path).stem for path in settings.configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"configs {names} share a name; the rows of the table are called by it: copy one to another")
    sets = [_volumes(_config(settings, path, 0)) for path in settings.configs]
    volumes = sets[0]
    for path, other in zip(settings.configs, sets, strict=True):
        if other.sample_ids() != volumes.sample_ids() or not np.array_equal(other.labels, volumes.labels):
            raise ConfigError(f"{path} reads other volumes or labels than {settings.configs[0]}; compare on one set")
    folds = subject_folds(volumes.labels, volumes.subjects, volumes.classes, settings.folds, settings.seed)
    say(f"{volumes}, {settings.folds} folds by subject")
    results = []
    for name, path in zip(names, settings.configs, strict=True):
        records, scores = [], []
        for number, fold in enumerate(folds):
            record = _fold(settings, path, number, fold, volumes)
            records.append(record)
            scores.append(fold_scores(record, len(volumes.classes), settings.seed))
            say(f"{name}, fold {number}: {_said(scores[-1])}")
        results.append(CrossvalResult(name, volumes.classes, tuple(records), tuple(scores)))
    return results


def _fold(settings: CrossvalSettings, path: str, number: int, fold: Fold, volumes: VolumeSet) -> FoldRecord:
    """Read what is there, or train and evaluate."""
    cfg = _config(settings, path, number)
    same = settings_hash(cfg, volumes.sample_ids(), volumes.labels.tolist(), fold)
    file = Path(cfg.work_dir) / "fold.npz"
    known = read_fold(file)
    if known is not None:
        if known.facts["fingerprint"] != same:
            raise ConfigError(
                f"{file} was made of other volumes, folds or settings; give another --out, or remove {file.parent}"
            )
        return known
    evaluated = _evaluated(cfg)
    _restrict(cfg, fold.train)
    seconds = train_again(cfg)
    checkpoint = resolve_checkpoint(cfg.work_dir)
    record = encode_fold(cfg, checkpoint, evaluated, fold)
    record.facts.update(fingerprint=same, train_seconds=seconds, fold=number, checkpoint=checkpoint.name)
    write_fold(file, record)
    return record


def _config(settings: CrossvalSettings, path: str, number: int) -> Config:
    return load_config(
        path,
        work_dir=Path(settings.out) / Path(path).stem / f"fold{number}",
        data_root=settings.data_root,
        cfg_options=settings.cfg_options,
        quick=settings.quick,
        amp=settings.amp,
    )


def _evaluated(cfg: Config) -> ConfigDict:
    """The data set of the config as it is evaluated: that of test, or of validation; all splits."""
    found = dataset_configs(cfg)
    for name in ("test_dataloader", "val_dataloader", "train_dataloader"):
        if name in found:
            dataset = copy.deepcopy(found[name][0])
            if not str(dataset.type).endswith("VolumeDataset"):
                break
            dataset.update(split=None, indices=None)
            return dataset
    raise ConfigError(f"{cfg.filename} reads no medkit.VolumeDataset; cross-validation is for configs of volumes")


def _volumes(cfg: Config) -> VolumeSet:
    """All volumes that the config's set has, whatever their split."""
    return DATASETS.build(_evaluated(cfg)).volumes


def _restrict(cfg: Config, subjects: Sequence[str]) -> None:
    """Train on these subjects alone; nothing is validated, so that nothing is chosen by held-out scans."""
    for dataset in dataset_configs(cfg)["train_dataloader"]:
        dataset.update(split=None, subjects=list(subjects))
    for loop in ("val", "test"):
        for part in ("dataloader", "cfg", "evaluator"):
            cfg[f"{loop}_{part}"] = None


def _said(scores: dict[str, float]) -> str:
    shown = {"accuracy": "k-means", "majority": "majority", "map": "mAP", "rmse": "RMSE %"}
    return ", ".join(f"{text} {scores[name]:.3f}" for name, text in shown.items())
