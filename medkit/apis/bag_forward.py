"""What a trained classifier says of bags: its model from a checkpoint, its data set, its predictions one after another.

Used by ``python tools/crossval.py`` and ``python tools/heatmap.py``, for `medkit.BagClassifier` and
`medkit.ImageBagClassifier`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch import nn
from torch.utils.data import DataLoader

from medkit.apis.crossval_run import evaluated_dataset
from medkit.data.bag_table import BagTable
from medkit.engine.loading import load_whole
from medkit.evaluation.bag_predictions import BagPrediction, bag_prediction
from medkit.registry import DATASETS, MODELS

__all__ = ["bag_dataset", "bag_model", "bag_table", "predict_bags"]


def bag_dataset(cfg: Config, **changes: Any) -> Any:
    """The config's data set of bags, built as it is evaluated, all splits, with ``changes`` such as ``cases=[...]``.

    Raises:
        ConfigError: the config is of another kind of data.
        DatasetError: see `medkit.BagDataset`.
    """
    return DATASETS.build(ConfigDict({**_dataset_config(cfg), **changes}))


def bag_table(cfg: Config) -> BagTable:
    """All bags that the config's set has, whatever their split; their features are not read."""
    kept = {} if "Image" in str(_dataset_config(cfg).type) else {"cache_mb": 0}
    return bag_dataset(cfg, **kept).bags


def _dataset_config(cfg: Config) -> ConfigDict:
    return evaluated_dataset(cfg, "BagDataset", "expected a config of bags, such as configs/abmil_slides.py")


def bag_model(cfg: Config, checkpoint: str | Path) -> nn.Module:
    """The config's classifier with the weights of ``checkpoint``, in evaluation mode, on the GPU where there is one.

    Raises:
        WeightsError: the checkpoint is missing, or of another network.
    """
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        model = MODELS.build(copy.deepcopy(cfg.model))
    load_whole(model, checkpoint)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def predict_bags(model: nn.Module, cfg: Config, dataset: Any) -> Iterator[BagPrediction]:
    """Predict the bags of ``dataset`` in their order, in batches of the size that the config evaluates with."""
    loader = next(
        cfg[name] for name in ("test_dataloader", "val_dataloader", "train_dataloader") if cfg.get(name) is not None
    )
    size, workers = loader.get("batch_size") or 1, loader.get("num_workers", 0)
    for batch in DataLoader(dataset, size, num_workers=workers, collate_fn=pseudo_collate):
        with torch.inference_mode():
            found = model.test_step(batch)  # type: ignore[operator]
        yield from (bag_prediction(sample.to_dict()) for sample in found)
