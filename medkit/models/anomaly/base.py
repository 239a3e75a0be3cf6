"""What all anomaly detectors of medkit share: batches in, one score and one map per image out.

A new method is one file: a subclass of `AnomalyModel` with ``score`` and either ``train_step`` (trained step by step)
or ``collect`` and ``finish_fit`` (fitted in one pass).

Command: ``python tools/train.py configs/healthygan_phantom.py``.
"""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from medkit.errors import ConfigError, DatasetError
from medkit.models.common import check_losses


class AnomalyModel(BaseModel):
    """Base of the anomaly detectors.

    Images are float32 RGB (B, 3, H, W) in [-1, 1] inside the model; `medkit.AnomalyDataPreprocessor` makes them.
    A training batch is ``dict(inputs=dict(healthy=(B, 3, H, W) uint8[, mixed=(B, 3, H, W) uint8]))``, a test batch
    ``dict(inputs=(B, 3, H, W) uint8, data_samples=[...])``.

    A subclass sets ``needs_mixed`` (does it train on unlabelled images besides healthy ones?) and ``min_size``
    (smallest side in pixels), and defines

    - ``score(images)``: (B, 3, H, W) to maps (B, H, W) and scores (B,), higher = more anomalous;
    - ``train_step(data, optim_wrapper)``, which begins with `training_images` and passes its losses through
      `check_losses`; or, for methods fitted in one pass, ``collect(images)`` with the healthy images of a batch and
      ``finish_fit()``, called by `medkit.FitHook` after the last batch. The fitted state belongs in buffers, so that
      checkpoints hold it.

    Args:
        data_preprocessor: default `medkit.AnomalyDataPreprocessor`.
        init_cfg: as for `BaseModel`.

    Raises:
        ConfigError: an image is smaller than ``min_size``, or a method that needs mixed images gets none.
        TrainingError: a loss is NaN or infinite.
    """

    needs_mixed: bool = False
    min_size: int = 1

    def __init__(self, data_preprocessor: dict | nn.Module | None = None, init_cfg: dict | None = None) -> None:
        preprocessor = data_preprocessor or {"type": "medkit.AnomalyDataPreprocessor"}
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        self._register_state_dict_hook(_without_wrappers)

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, H, W) and scores (B,) of (B, 3, H, W) images in [-1, 1]; higher = more anomalous."""
        raise NotImplementedError(f"{type(self).__name__} defines no score()")

    def collect(self, images: Tensor) -> None:
        """Take in the healthy images (B, 3, H, W) of one batch; for methods fitted in one pass."""
        raise NotImplementedError(f"{type(self).__name__} defines neither train_step() nor collect()")

    def finish_fit(self) -> None:
        """Turn what `collect` took in into the fitted state; for methods fitted in one pass."""
        raise NotImplementedError(f"{type(self).__name__} defines no finish_fit()")

    def train_step(self, data: dict, optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, Tensor]:
        """Methods fitted in one pass: `collect` the batch, change no weight. Others override it."""
        with torch.no_grad():
            self.collect(self.training_images(data)["healthy"])
        return {}

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor") -> Any:
        """Score preprocessed images (B, 3, H, W).

        Args:
            inputs: as `medkit.AnomalyDataPreprocessor` returns them.
            data_samples: one per image, for mode 'predict'.
            mode: 'tensor' returns ``(maps (B, H, W), scores (B,))``; 'predict' returns the data samples, each with
                ``pred_score`` (float) and ``anomaly_map`` ((H, W) float32 on the CPU).
        """
        if mode not in ("tensor", "predict"):
            raise ConfigError(f"{type(self).__name__}: mode={mode!r}; give 'tensor' or 'predict'")
        self.check_size(inputs)
        maps, scores = self.score(inputs)
        if mode == "tensor":
            return maps, scores
        samples = data_samples or []
        if len(samples) != len(inputs):
            raise DatasetError(f"{len(inputs)} images came with {len(samples)} data samples, expected one per image")
        maps = maps.detach().float().cpu()  # (B, H, W)
        for sample, anomaly_map, value in zip(samples, maps, scores.detach().float().tolist(), strict=True):
            sample.anomaly_map, sample.pred_score = anomaly_map, value
        return samples

    def training_images(self, data: dict) -> dict[str, Tensor]:
        """``healthy`` and, where needed, ``mixed`` images (B, 3, H, W) in [-1, 1] of a training batch."""
        inputs = self.data_preprocessor(data, True)["inputs"]
        wanted = ("healthy", "mixed") if self.needs_mixed else ("healthy",)
        missing = [name for name in wanted if not isinstance(inputs, dict) or name not in inputs]
        if missing:
            raise ConfigError(
                f"{type(self).__name__} trains on {' and '.join(wanted)} images, but the batch has no {missing[0]!r}; "
                f"take medkit.AnomalyPairs(mixed={self.needs_mixed}) as the training set"
            )
        for name in wanted:
            self.check_size(inputs[name])
        return {name: inputs[name] for name in wanted}

    def check_size(self, images: Tensor) -> None:
        """Refuse images smaller than the network's minimum."""
        height, width = images.shape[-2:]
        if min(height, width) < self.min_size:
            raise ConfigError(
                f"{type(self).__name__} needs images of at least {self.min_size} x {self.min_size} pixels, got "
                f"{height} x {width}; set --cfg-options img_size={self.min_size} or more"
            )

    def check_losses(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses themselves, detached, once all are finite; call it before the optimizer moves the weights."""
        return check_losses(losses)


def _without_wrappers(model: nn.Module, state: dict[str, Any], prefix: str, metadata: dict) -> None:
    """Saved names do not say that a network was wrapped for several processes; mmengine's loading expects them so."""
    for name, child in model.named_children():
        inside = f"{prefix}{name}.module."
        for key in [key for key in state if is_model_wrapper(child) and key.startswith(inside)]:
            state[f"{prefix}{name}.{key.removeprefix(inside)}"] = state.pop(key)
