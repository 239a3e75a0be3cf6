"""Scoring images with a trained anomaly detector: scores, maps, time and memory.

    scorer = AnomalyScorer('configs/healthygan_phantom.py', 'work_dirs/healthygan_phantom')
    maps, scores = scorer(scorer.prepare(image)[0][None])

Commands: ``python tools/score.py CONFIG RUN FOLDER --out DIR``, ``python tools/benchmark_anomaly.py DATASET``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor

from medkit.apis.config import load_config
from medkit.data.checks import dataset_configs
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.engine.loading import load_whole
from medkit.errors import ConfigError, WeightsError
from medkit.registry import DATASETS, MODELS, TRANSFORMS

__all__ = ["AnomalyScorer", "ScoredSet", "test_pipeline"]


@dataclass(frozen=True)
class ScoredSet:
    """Images of an anomaly set with what a detector made of them, N of them.

    Attributes:
        files: paths.
        labels: ``(N,)`` int64: 0, 1, -1 unknown.
        roles: ``(N,)`` str.
        patients: ``(N,)`` str.
        scores: ``(N,)`` float64, higher = more anomalous.
        maps: ``(N, H, W)`` float32, or None where they were not wanted.
        masks: (H, W) bool of each image, None where nobody drew one.
        ms_per_image: time of the model alone, milliseconds.
        peak_mb: most memory used: of the GPU, or of the whole process on a CPU.
    """

    files: tuple[str, ...]
    labels: np.ndarray
    roles: np.ndarray
    patients: np.ndarray
    scores: np.ndarray
    maps: np.ndarray | None
    masks: list[np.ndarray | None]
    ms_per_image: float
    peak_mb: float

    def rows(self, role: str) -> np.ndarray:
        """Indices of the images of a role."""
        return np.flatnonzero(self.roles == role)


class AnomalyScorer:
    """A trained detector that scores images.

    Args:
        config: config file of the method, or what `load_config` returned.
        checkpoint: checkpoint file, or run folder.
        device: 'cpu', 'cuda', ...; default the GPU where there is one.
        batch_size: images that are run together.
        cfg_options: changes to the config, as in training (``img_size``, ...).

    Raises:
        ConfigError, WeightsError: the config is of no anomaly detector, or the checkpoint does not fit it.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        *,
        device: str | None = None,
        batch_size: int = 16,
        cfg_options: Mapping | None = None,
    ) -> None:
        cfg = config if isinstance(config, Config) else load_config(config, cfg_options=dict(cfg_options or {}))
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}; expected 1 or more")
        self.cfg, self.batch_size = cfg, batch_size
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = MODELS.build(cfg.model)
        if not callable(getattr(model, "score", None)):
            raise ConfigError(
                f"{cfg.filename}: {type(model).__name__} is no anomaly detector; tools/predict.py runs lesion detectors"
            )
        load_whole(model, self.checkpoint)
        if cfg.get("channels_last"):
            model.to(memory_format=torch.channels_last)
        self.model = model.to(self.device).eval()
        self.steps = test_pipeline(cfg)
        self._prepare = Compose([TRANSFORMS.build(step) for step in self.steps[1:]])
        self.seconds, self.num_images = 0.0, 0

    def prepare(self, image: np.ndarray) -> tuple[Tensor, tuple[float, float, float, float]]:
        """What the network is given of an 8-bit image (H, W) or BGR (H, W, 3).

        Returns:
            (3, H, W) uint8 BGR, and the part of the image that it shows: left, top, right, bottom in shares.
        """
        colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        shape = colour.shape[:2]
        made = self._prepare({"img": colour, "img_shape": shape, "ori_shape": shape})
        inputs = torch.from_numpy(np.ascontiguousarray(made["img"].transpose(2, 0, 1)))
        return inputs, tuple(made.get("view", (0.0, 0.0, 1.0, 1.0)))  # type: ignore[return-value]

    def __call__(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Maps (B, H, W) float32 and scores (B,) float64 of uint8 BGR images (B, 3, H, W).

        Raises:
            WeightsError: a score is NaN or infinite.
        """
        start = time.perf_counter()
        with torch.no_grad():
            inputs = self.model.data_preprocessor({"inputs": images}, False)["inputs"]
            maps, scores = self.model(inputs, mode="tensor")
            maps, scores = maps.float().cpu().numpy(), scores.double().cpu().numpy()  # waits for the device
        self.seconds, self.num_images = self.seconds + time.perf_counter() - start, self.num_images + len(images)
        if not np.isfinite(scores).all():
            raise WeightsError(
                f"{self.checkpoint} gives the score {scores[~np.isfinite(scores)][0]}: that training diverged; use an "
                "earlier checkpoint"
            )
        return maps, scores

    @property
    def ms_per_image(self) -> float:
        """Mean time of the model for one image so far."""
        return 1e3 * self.seconds / max(self.num_images, 1)

    def peak_mb(self) -> float:
        """Most memory so far: torch's on the GPU, of the whole process (weights, images, Python) on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def score_set(
        self,
        data_root: str | Path,
        roles: Sequence[str] = ("val", "test"),
        *,
        maps: bool = True,
        limit: Mapping[str, int] | None = None,
    ) -> ScoredSet:
        """Score the images of some roles of a set.

        Args:
            data_root: as `read_anomaly` takes it.
            roles: of val, test, healthy, mixed.
            maps: keep the maps: 4 bytes for each pixel.
            limit: role -> at most so many images, spread over the set.
        """
        settings = dict(type="medkit.AnomalyImages", data_root=str(data_root), roles=tuple(roles))
        dataset = DATASETS.build(dict(settings, limit=dict(limit or {}), pipeline=self.steps))
        samples, found = [], []
        for at in range(0, len(dataset), self.batch_size):
            items = [dataset[i] for i in range(at, min(at + self.batch_size, len(dataset)))]
            samples += [item["data_samples"] for item in items]
            found.append(self(torch.stack([item["inputs"] for item in items])))
        masks = [sample.get("gt_mask") for sample in samples]
        return ScoredSet(
            files=tuple(sample.img_path for sample in samples),
            labels=np.array([sample.gt_label for sample in samples], np.int64),
            roles=np.array([sample.role for sample in samples], dtype=str),
            patients=np.array([sample.patient_id for sample in samples], dtype=str),
            scores=np.concatenate([scores for _, scores in found]),
            maps=np.concatenate([part for part, _ in found]) if maps else None,
            masks=[None if mask is None else np.asarray(mask) > 0 for mask in masks],
            ms_per_image=self.ms_per_image,
            peak_mb=self.peak_mb(),
        )


def test_pipeline(cfg: Config) -> list[dict]:
    """Steps from ``img_path`` to ``img``: those of the test or validation set, else those of training less the random.

    Raises:
        ConfigError: there are none, or the first is not `medkit.LoadMedicalImage`.
    """
    found = dataset_configs(cfg)
    for name in ("test_dataloader", "val_dataloader", "train_dataloader"):
        steps = [dict(step) for step in (found[name][0].get("pipeline") or ())] if name in found else []
        if steps and name == "train_dataloader":
            steps = [step for step in steps if "Random" not in str(step["type"])]
        if steps:
            break
    if not steps or not str(steps[0]["type"]).endswith("LoadMedicalImage"):
        raise ConfigError(
            f"{cfg.filename}: the pipeline of the images begins with {steps[0]['type'] if steps else 'nothing'}; "
            "expected medkit.LoadMedicalImage"
        )
    return steps
