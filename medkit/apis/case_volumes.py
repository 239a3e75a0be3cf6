"""Codes of brain volumes by a trained 3-D autoencoder, for an index of cases.

Onga et al., "Efficient feature embedding of 3D brain MRI images for content-based image retrieval with deep metric
learning", arXiv 1912.01824. Command: ``python tools/retrieve.py build``.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

from medkit.apis.cases import Case, ModelFingerprint
from medkit.apis.features import hash_weights, quiet
from medkit.data.checks import dataset_configs
from medkit.data.volume_cache import VolumeCache
from medkit.data.volume_dataset import VolumeDataset
from medkit.data.volume_read import check_volume, read_volume
from medkit.data.volume_recipe import VolumeRecipe
from medkit.data.volume_table import UNLABELLED
from medkit.engine.loading import load_whole
from medkit.engine.reading import resolve_checkpoint
from medkit.errors import ConfigError, DatasetError
from medkit.registry import MODELS

__all__ = ["VolumeEncoder"]

_BATCH = 4


class VolumeEncoder:
    """`medkit.ConvAutoencoder3D` as a `CaseEncoder`: volumes are prepared as the config's data set prepares them.

    Codes are compared by Euclidean distance, which is what the metric term trains.

    Raises:
        ConfigError: the config reads no `medkit.VolumeDataset`.
        WeightsError: the checkpoint does not fit.
    """

    metric = "l2"

    def __init__(self, cfg: Config, checkpoint: str | Path | None, seed: int = 0) -> None:
        self._dataset = _dataset_config(cfg)
        with DefaultScope.overwrite_default_scope("medkit"), torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self._model: Any = MODELS.build(copy.deepcopy(cfg.model))
            if checkpoint is None:
                with quiet():
                    self._model.init_weights()
        if checkpoint is not None:
            load_whole(self._model, resolve_checkpoint(checkpoint))
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = self._model.to(self._device).eval()
        size, settings = tuple(self._dataset.get("target_size", (80, 96, 80))), self._dataset.get("recipe") or {}
        settings = {name: tuple(one) if isinstance(one, list) else one for name, one in settings.items()}
        self._prepared: dict[str, tuple[VolumeCache, str]] = {}
        self.recipe = VolumeRecipe(size, **settings)
        self.fingerprint = ModelFingerprint(
            model=type(self._model).__name__,
            weights=hash_weights(self._model.encoder),
            preprocessing=f"{self.recipe} {self.recipe.digest}",
        )

    def cases(self, source: str | Path, splits: Sequence[str] = ()) -> list[Case]:
        """Volumes of a file, or of a folder as `medkit.VolumeDataset` reads it; the latter are prepared and kept."""
        source = Path(source)
        if source.is_file():
            return [Case(source.name, path=str(source.resolve()))]
        settings = {**self._dataset, "data_root": str(source), "split": None, "num_classes": 0, "classes": None}
        for name in ("type", "indices", "subjects"):
            settings.pop(name, None)
        if not (settings.get("table") and (source / settings["table"]).is_file()):
            settings.update(table=None, columns=None)  # of the set that was trained on
        dataset = VolumeDataset(**settings)
        found = dataset.volumes
        paths = [str(Path(file).resolve()) for file in found.files]
        self._prepared |= {path: (dataset.cache, file) for path, file in zip(paths, found.files, strict=True)}
        rows = [row for row in range(len(found)) if not splits or found.splits[row] in splits]
        if not rows:
            raise DatasetError(f"{source} has no volume of the splits {list(splits)}")
        names = found.sample_ids()
        return [
            Case(
                case_id=names[row],
                subject="" if found.subjects[row] == f"volume {found.files[row]}" else str(found.subjects[row]),
                label="" if found.labels[row] == UNLABELLED else found.classes[found.labels[row]],
                visit=str(found.visits[row]),
                path=paths[row],
            )
            for row in rows
        ]

    def encode(self, cases: Sequence[Case]) -> np.ndarray:
        """(N, K) float32."""
        return np.concatenate(list(self._encoded(cases)))

    def views(self, case: Case) -> list[np.ndarray]:
        """Middle slices of the prepared volume: from above, from the front, from the left; the nose, the top up."""
        volume = self._read(case.path)
        x, y, z = (side // 2 for side in volume.shape)
        slices = volume[:, :, z], volume[:, y], volume[x]  # of axes right, front, top
        return [(one.T[::-1].clip(0, 1) * 255).round().astype(np.uint8) for one in slices]

    def _encoded(self, cases: Sequence[Case]) -> Iterator[np.ndarray]:
        for start in range(0, len(cases), _BATCH):
            volumes = np.stack([self._read(case.path) for case in cases[start : start + _BATCH]])[:, None]
            with torch.no_grad():
                yield self._model(torch.from_numpy(volumes).to(self._device), mode="tensor").float().cpu().numpy()

    def _read(self, path: str) -> np.ndarray:
        """A prepared volume (D, H, W), from the cache of a set where `cases` has read it."""
        if path in self._prepared:
            cache, file = self._prepared[path]
            return cache.load(file)
        volume = read_volume(path)
        check_volume(path, volume.array)
        return self.recipe(volume).astype(np.float16).astype(np.float32)  # as the cache keeps it


def _dataset_config(cfg: Config) -> ConfigDict:
    found = dataset_configs(cfg)
    for name in ("test_dataloader", "val_dataloader", "train_dataloader"):
        if name in found and str(found[name][0].type).endswith("VolumeDataset"):
            return found[name][0]
    raise ConfigError(f"{cfg.filename} reads no medkit.VolumeDataset, so it is not known how to prepare a volume")
