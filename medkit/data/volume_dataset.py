"""Brain volumes for the 3-D autoencoder and for retrieval (Onga et al. 2019, arXiv 1912.01824).

Config: configs/_base_/datasets/volumes.py; command: ``python tools/train.py configs/cae3d_metric_brain_phantom.py``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from medkit.data.volume_cache import VolumeCache
from medkit.data.volume_recipe import VolumeRecipe
from medkit.data.volume_table import SPLITS, UNLABELLED, VolumeSet, read_volumes
from medkit.errors import ConfigError, DatasetError
from medkit.registry import DATASETS

CACHE = ".volume_cache"


@DATASETS.register_module()
class VolumeDataset(Dataset):
    """Volumes as ``dict(inputs=(1, D, H, W) float32 in [0, 1], data_samples=DataSample)``.

    D runs from left to right, H from back to front, W from bottom to top (RAS). A sample carries ``gt_label`` (-1
    unlabelled) and ``subject``, ``visit``, ``scanner``, ``sample_id`` (path under ``data_root``), ``img_path``. Volumes
    are prepared once, when the data set is made (`VolumeCache`), with one logged line on axes and grid.

    Attributes ``labels`` (P,), ``subjects`` (P,) and ``classes`` serve `medkit.AnchorBatchSampler`. P is the length,
    but with ``indices`` a few volumes more, so that a batch of the quick mode finds anchors.

    Args:
        data_root: a folder that `read_volumes` reads.
        split: train, val or test; None: all.
        subjects: keep the volumes of these alone, whatever their split (cross-validation).
        target_size: voxels left-right, back-front, bottom-top.
        recipe: other settings of `VolumeRecipe`.
        divisor: what each side of ``target_size`` must be a multiple of: 2 to the number of the model's stages.
        num_classes: classes that the model has; 0: any number. With more, each needs a volume.
        table: as the next ones, see `read_volumes`.
        columns: see `read_volumes`.
        classes: see `read_volumes`.
        others: see `read_volumes`.
        allow_label_change: see `read_volumes`.
        mixed_grids: volumes may differ in shape or spacing.
        cache_dir: folder of prepared volumes; default ``data_root/.volume_cache``.
        cache_workers: processes that prepare; default one per core.
        indices: at most so many volumes, of the classes in turn (quick mode).

    Raises:
        ConfigError: unknown split, a side that ``divisor`` does not divide, a recipe that cannot be.
        DatasetError: as `read_volumes` and `VolumeCache.build`; no volume is left, or a class has none.
    """

    def __init__(
        self,
        data_root: str = "",
        *,
        split: str | None = None,
        subjects: Sequence[str] | None = None,
        target_size: Sequence[int] = (80, 96, 80),
        recipe: Mapping | None = None,
        divisor: int = 1,
        num_classes: int = 0,
        table: str | None = None,
        columns: Mapping[str, str] | None = None,
        classes: Sequence[str] | None = None,
        others: str = "refuse",
        allow_label_change: bool = False,
        mixed_grids: bool = False,
        cache_dir: str | None = None,
        cache_workers: int | None = None,
        indices: int | None = None,
    ) -> None:
        check_divisible(target_size, divisor)
        settings: dict[str, Any] = {
            k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in (recipe or {}).items()
        }
        try:
            made = VolumeRecipe(tuple(target_size), **settings)
        except TypeError as error:
            raise ConfigError(f"recipe={dict(settings)}: {error}; docs/volume_data.md lists the settings") from None
        everything = read_volumes(
            data_root,
            table=table,
            columns=columns,
            classes=classes,
            others=others,
            allow_label_change=allow_label_change,
        )
        found = _chosen(everything, split, subjects)
        _check_classes(found, num_classes, split)
        rows = _in_turn(found)
        self.length = len(rows) if indices is None else min(indices, len(rows))
        if indices is not None:
            rows = rows[: indices + 4 * max(len(found.classes), 1)]
        self.volumes = found.take(rows)
        self.cache = VolumeCache(cache_dir or Path(data_root, CACHE), made, data_root)
        facts = self.cache.build(self.volumes.files, workers=cache_workers, mixed_grids=mixed_grids)
        self._ids = self.volumes.sample_ids()
        self.metainfo = {"classes": self.volumes.classes}
        _say(self.volumes, facts, made)

    @property
    def labels(self) -> np.ndarray:
        """(P,) int64, -1 unlabelled."""
        return self.volumes.labels

    @property
    def subjects(self) -> np.ndarray:
        """(P,) str."""
        return self.volumes.subjects

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.volumes.classes

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        volume = self.cache.load(self.volumes.files[index])
        sample = DataSample().set_gt_label(int(self.volumes.labels[index]))
        texts = {name: str(getattr(self.volumes, f"{name}s")[index]) for name in ("subject", "visit", "scanner")}
        sample.set_metainfo(texts | {"sample_id": self._ids[index], "img_path": self.volumes.files[index]})
        return {"inputs": torch.from_numpy(volume)[None], "data_samples": sample}


def check_divisible(target_size: Sequence[int], divisor: int) -> None:
    """Refuse sides that the model cannot halve so often.

    Raises:
        ConfigError: naming the sides and the nearest that fit.
    """
    wrong = [side for side in target_size if side % divisor]
    if wrong:
        near = "; ".join(
            f"{side}: {max(side // divisor, 1) * divisor} or {-(-side // divisor) * divisor}" for side in wrong
        )
        raise ConfigError(
            f"target_size={tuple(target_size)}: {wrong} is not divisible by {divisor}, 2 to the number of the model's "
            f"stages; take {near}, or fewer stages"
        )


def _chosen(found: VolumeSet, split: str | None, subjects: Sequence[str] | None) -> VolumeSet:
    if split not in (None, *SPLITS):
        raise ConfigError(f"split={split!r}; expected one of {', '.join(SPLITS)}, or None for all volumes")
    if subjects is not None:
        wanted = list(map(str, subjects))
        if lacking := sorted(set(wanted) - set(found.subjects)):
            raise DatasetError(f"{found.root} has no volume of the subject {lacking[0]!r} ({len(lacking)} such)")
        kept = found.take(np.flatnonzero(np.isin(found.subjects, wanted)))
    else:
        kept = found if split is None else found.take(np.flatnonzero(found.splits == split))
    if not len(kept):
        has = ", ".join(sorted(set(found.splits)))
        raise DatasetError(f"{found.root} has no volume of split {split!r}; it has {has}: mend the table or set split")
    return kept


def _check_classes(found: VolumeSet, num_classes: int, split: str | None) -> None:
    if not num_classes:
        return
    if not found.classes:
        raise DatasetError(
            f"{found.root} names no label, but the model has num_classes={num_classes}; give a table with the column "
            "label, or columns=dict(label=...), or train without labels: num_classes=0 and alpha=0"
        )
    if len(found.classes) != num_classes:
        raise DatasetError(
            f"{found.root} has the {len(found.classes)} classes {found.classes}, the model {num_classes}; set "
            f"num_classes={len(found.classes)}, or choose with classes=[...] and others='drop'"
        )
    empty = [name for label, name in enumerate(found.classes) if label not in found.labels]
    if empty:
        raise DatasetError(
            f"no volume of class {empty[0]!r} among the {len(found)} chosen from {found.root} (split={split!r}, "
            f"{len(set(found.subjects))} subjects); every class needs some: fewer folds, or another split"
        )


def _in_turn(found: VolumeSet) -> np.ndarray:
    """(N,) rows so that the first few are of all classes and of different subjects."""
    turn: dict[tuple, int] = defaultdict(int)
    keys = []
    seen: Counter[str] = Counter()
    for row, (label, subject) in enumerate(zip(found.labels, found.subjects, strict=True)):
        visit = seen[subject]
        seen[subject] += 1
        keys.append((visit, turn[label, visit], label == UNLABELLED, label, row))
        turn[label, visit] += 1
    return np.array([key[-1] for key in sorted(keys)], dtype=int)


def _say(volumes: VolumeSet, facts: list[dict], recipe: VolumeRecipe) -> None:
    axes = Counter(fact["stored"] for fact in facts)
    stored = ", ".join(f"{count} {name}" for name, count in axes.most_common())
    doubt = "; '?': the file does not say its axes" if any("?" in name for name in axes) else ""
    grids = Counter(fact["grid"] for fact in facts).most_common()
    more = f" and {len(grids) - 1} other grids" if len(grids) > 1 else ""
    print_log(
        f"VolumeDataset: {volumes}; axes brought to RAS from {stored}{doubt}; {grids[0][0]}{more} -> "
        f"{'x'.join(map(str, recipe.target_size))}",
        logger="current",
    )
