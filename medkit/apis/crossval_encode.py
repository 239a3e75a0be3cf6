"""A trained fold's codes and reconstructions: of its training scans, and of the held-out ones with their errors.

Used by ``python tools/crossval.py``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate

from medkit.apis.crossval_folds import Fold
from medkit.apis.crossval_records import CodeSet, FoldRecord
from medkit.engine.loading import load_whole
from medkit.evaluation.functional.reconstruction import brain_mask, rmse_percent
from medkit.registry import DATASETS, MODELS

__all__ = ["encode_fold"]

_PICTURES = 4  # held-out scans whose reconstruction is kept


def encode_fold(cfg: Config, checkpoint: Path, dataset: ConfigDict, fold: Fold) -> FoldRecord:
    """Run the model of ``checkpoint`` over both sides of the fold.

    Args:
        cfg: the config that it was trained with.
        checkpoint: file.
        dataset: config of the data set, without augmentation, of all subjects.
        fold: subjects of either side.

    Raises:
        DatasetError: a code is not finite, or a volume is constant.
        WeightsError: the checkpoint does not fit the config.
    """
    model = MODELS.build(cfg.model)
    load_whole(model, checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device).eval()
    size = int(cfg.train_dataloader.get("batch_size") or cfg.get("batch_size", 4))
    train = _codes([sample for sample, _ in _predicted(model, _subset(dataset, fold.train), size)])
    samples: list[Any] = []
    errors, pictures, start = [], [], time.perf_counter()
    for sample, volume in _predicted(model, _subset(dataset, fold.test), size):
        made = sample.pop("reconstruction").float().cpu().numpy()  # (D, H, W)
        mask = brain_mask(volume)
        errors.append((rmse_percent(volume, made), rmse_percent(volume, made, mask)))
        pictures.append((volume.astype(np.float16), made.astype(np.float16)) if _wanted(sample, samples) else None)
        samples.append(sample)
    seconds = (time.perf_counter() - start) / max(len(samples), 1)
    shown = [row for row, one in enumerate(pictures) if one is not None][:_PICTURES]
    whole, brain = np.array(errors).T
    inputs, made = (np.stack([pictures[row][side] for row in shown]) for side in (0, 1))  # type: ignore[index]
    facts = {"seconds_per_scan": seconds, "code_length": int(train.codes.shape[1])}
    return FoldRecord(train, _codes(samples), whole, brain, np.array(shown), inputs, made, facts)


def _wanted(sample: Any, before: Sequence[Any]) -> bool:
    """The first scan of a subject whose class has not been seen twice yet."""
    if sample.subject in {one.subject for one in before}:
        return False
    same = {one.subject for one in before if int(one.gt_label) == int(sample.gt_label)}
    return len(same) < _PICTURES // 2


def _subset(dataset: ConfigDict, subjects: Sequence[str]) -> Any:
    return DATASETS.build(ConfigDict({**dataset, "subjects": list(subjects)}))


def _predicted(model: Any, dataset: Any, batch_size: int) -> Iterator[tuple[Any, np.ndarray]]:
    """Samples with code and reconstruction, each with its volume (D, H, W) float32."""
    for at in range(0, len(dataset), batch_size):
        items = [dataset[row] for row in range(at, min(at + batch_size, len(dataset)))]
        with torch.no_grad():
            found = model.test_step(pseudo_collate(items))
        for item, sample in zip(items, found, strict=True):
            yield sample, item["inputs"][0].float().numpy()


def _codes(samples: Sequence[Any]) -> CodeSet:
    texts = {
        name: np.array([str(sample.get(name, "")) for sample in samples], dtype=str)
        for name in ("subject", "visit", "scanner", "sample_id")
    }
    return CodeSet(
        codes=np.stack([sample.code.float().cpu().numpy() for sample in samples]),
        labels=np.array([int(sample.gt_label) for sample in samples], np.int64),
        subjects=texts["subject"],
        visits=texts["visit"],
        scanners=texts["scanner"],
        names=texts["sample_id"],
    )
