"""What cross-validations of volumes and of bags share: settings, a fold's config, and folds that are kept once done.

Command: ``python tools/crossval.py CONFIG [CONFIG ...] --folds 5``.
"""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from mmengine.config import Config, ConfigDict

from medkit.apis.config import load_config
from medkit.data.checks import dataset_configs
from medkit.errors import ConfigError, DatasetError

__all__ = [
    "CrossvalSettings",
    "config_names",
    "evaluated_dataset",
    "fold_config",
    "kept_or_made",
    "read_arrays",
    "without_validation",
    "write_arrays",
]


@dataclass(frozen=True)
class CrossvalSettings:
    """What is trained and how it is divided.

    Attributes:
        configs: config files; their names name the rows of the table.
        out: folder of everything that is written; fold by fold it makes the run resumable.
        folds: how many.
        seed: of the folds, of k-means and of the bootstrap. Trainings keep their config's own.
        data_root: replaces that of the configs.
        cfg_options: further changes to every config.
        quick: two iterations on tiny data.
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


class Kept(Protocol):
    """What a fold leaves; ``facts`` holds the fingerprint of what it was made of."""

    @property
    def facts(self) -> dict:
        """Plain values."""


_Record = TypeVar("_Record", bound=Kept)


def config_names(settings: CrossvalSettings) -> list[str]:
    """Name of each config's rows.

    Raises:
        ConfigError: two configs share one.
    """
    names = [Path(path).stem for path in settings.configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"configs {names} share a name; the rows of the table are called by it: copy one to another")
    return names


def fold_config(settings: CrossvalSettings, path: str, number: int) -> Config:
    """The config of fold ``number``, which works in a folder of its own."""
    return load_config(
        path,
        work_dir=Path(settings.out) / Path(path).stem / f"fold{number}",
        data_root=settings.data_root,
        cfg_options=settings.cfg_options,
        quick=settings.quick,
        amp=settings.amp,
    )


def evaluated_dataset(cfg: Config, suffix: str, what: str) -> ConfigDict:
    """The data set of the config as it is evaluated: that of test, or of validation, or of training; all splits.

    Raises:
        ConfigError: its type does not end in ``suffix``; ``what`` says what is expected.
    """
    found = dataset_configs(cfg)
    for name in ("test_dataloader", "val_dataloader", "train_dataloader"):
        if name in found:
            dataset = copy.deepcopy(found[name][0])
            if not str(dataset.type).endswith(suffix):
                break
            dataset.update(split=None, indices=None)
            return dataset
    raise ConfigError(f"{cfg.filename} reads no medkit.{suffix}; {what}")


def without_validation(cfg: Config) -> None:
    """Validate nothing, so that nothing is chosen by what is held out."""
    for loop in ("val", "test"):
        for part in ("dataloader", "cfg", "evaluator"):
            cfg[f"{loop}_{part}"] = None


def kept_or_made(
    file: Path,
    fingerprint: str,
    read: Callable[[Path], _Record | None],
    make: Callable[[], _Record],
    write: Callable[[Path, _Record], None],
) -> _Record:
    """The record in ``file``, or a new one that is kept there.

    Raises:
        ConfigError: the file is there and was made of something else.
    """
    known = read(file)
    if known is None:
        known = make()
        known.facts["fingerprint"] = fingerprint
        write(file, known)
    elif known.facts["fingerprint"] != fingerprint:
        raise ConfigError(
            f"{file} was made of other volumes or bags, folds or settings; give another --out, or remove {file.parent}"
        )
    return known


def write_arrays(path: Path, facts: Mapping[str, Any], arrays: dict[str, Any]) -> None:
    """Write ``path`` (.npz) with ``facts`` as json; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    with draft.open("wb") as file:
        np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)
    draft.replace(path)


def read_arrays(path: Path, build: Callable[[dict, dict[str, np.ndarray]], _Record]) -> _Record | None:
    """``build(facts, arrays)`` of what `write_arrays` wrote; None where there is no file.

    Raises:
        DatasetError: the file is damaged, or not of the kind.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        return build(json.loads(str(arrays.pop("facts"))), arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} cannot be read ({error}); remove it, and the fold is evaluated again") from error
