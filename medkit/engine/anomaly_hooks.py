"""Hooks of anomaly detection: fitting in one pass, and what a run's masks and pictures look like on the way.

Command: ``python tools/train.py configs/healthygan_phantom.py``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from medkit.errors import ConfigError
from medkit.registry import HOOKS

NEARLY_ALL = 0.95  # mean of the masks of both sets: they are all ones
NEARLY_NONE = 0.1  # largest value of a mask: it is all zeros
UNDECIDED = 0.1  # distance from one half


def plain_model(runner: Runner) -> Any:
    """The model itself (an `AnomalyModel`), without the wrapper of several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class FitHook(Hook):
    """Calls the model's ``finish_fit()`` after the last batch of a method that is fitted in one pass.

    It runs before the checkpoint of that iteration is written, so that the checkpoint holds the fitted state. Images
    are collected by the model's ``train_step`` (see `medkit.models.anomaly.AnomalyModel`).

    Raises:
        ConfigError: the model has no ``finish_fit``, or several processes would each fit a part of the images.
    """

    priority = "HIGH"  # before the checkpoint hook

    def before_train(self, runner: Runner) -> None:
        """Check that there is something to call."""
        model = plain_model(runner)
        if not callable(getattr(model, "finish_fit", None)):
            raise ConfigError(f"FitHook: {type(model).__name__} has no finish_fit(); remove the hook")
        if runner.world_size > 1:
            raise ConfigError(
                f"FitHook: {runner.world_size} processes would each fit their own part of the images; train "
                f"{type(model).__name__} with one process"
            )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Finish after the last iteration of the loop."""
        if runner.iter + 1 == runner.max_iters:
            plain_model(runner).finish_fit()


@HOOKS.register_module()
class MaskMonitorHook(Hook):
    """Shows what the masks of a translating model do: numbers in the log, pictures in the run folder, a warning.

    The mean, smallest and largest mask value of both sets, averaged over the updates of the generator since the last
    report, appear in the log and in metrics.csv: ``anomaly/mask_mixed_mean``, ``..._min``, ``..._max``, and the same of
    ``mask_healthy``. A picture has one row for each of a few mixed and healthy images: input, mask, healthy
    translation, and their difference, brightened to fill the grey scale.

    A mask of ones everywhere repaints the whole image, one of zeros changes nothing, one about one half blends two
    pictures. Each is warned about once, with the weight to change (see docs/healthygan.md).

    Args:
        interval: iterations from one report to the next.
        picture_interval: iterations from one picture to the next; 0 draws none.
        num_images: rows of a picture, half of them of each set.

    Raises:
        ConfigError: an argument is out of range, or the model has no masks.
    """

    priority = "NORMAL"  # before LoggerHook and RunFolderHook, so that their lines hold the values

    def __init__(self, interval: int = 50, picture_interval: int = 1000, num_images: int = 6) -> None:
        if interval < 1 or picture_interval < 0 or num_images < 2:
            raise ConfigError(
                f"MaskMonitorHook: interval={interval}, picture_interval={picture_interval}, num_images={num_images}; "
                "expected 1 or more, 0 or more, 2 or more"
            )
        self.interval, self.picture_interval, self.num_images = interval, picture_interval, num_images
        self._sums: dict[str, Tensor] = {}
        self._updates = 0
        self._warned: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Check that the model has what is watched."""
        model = plain_model(runner)
        if not hasattr(model, "mask_stats"):
            raise ConfigError(f"MaskMonitorHook: {type(model).__name__} has no mask_stats; remove the hook")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Add up without waiting for the device; report and draw when it is time."""
        model = plain_model(runner)
        if "g_loss" in (outputs or {}):
            for name, stats in model.mask_stats.items():
                self._sums[name] = self._sums.get(name, 0) + stats
            self._updates += 1
        if self.every_n_train_iters(runner, self.interval) and self._updates:
            self._report(runner)
        if self.picture_interval and self.every_n_train_iters(runner, self.picture_interval) and is_main_process():
            path = Path(runner.work_dir) / "pictures" / f"iter_{runner.iter + 1:06d}.jpg"
            write_picture(path, *self._picture(model, data_batch or {}))

    def _report(self, runner: Runner) -> None:
        means = {name: (total / self._updates).tolist() for name, total in self._sums.items()}
        for name, values in means.items():
            for what, value in zip(("mean", "min", "max"), values, strict=True):
                runner.message_hub.update_scalar(f"train/anomaly/mask_{name}_{what}", value)
        self._sums, self._updates = {}, 0
        fault = mask_fault(means)
        if fault and fault.split("(")[0] not in self._warned:  # the numbers behind it differ each time
            self._warned.add(fault.split("(")[0])
            runner.logger.warning(fault)

    def _picture(self, model: Any, data_batch: dict) -> tuple[np.ndarray, list[str]]:
        each = self.num_images // 2
        inputs = data_batch["inputs"]
        first = {name: inputs[name][:each] for name in ("mixed", "healthy")}
        images = torch.cat(list(model.data_preprocessor({"inputs": first})["inputs"].values()))  # (N, 3, H, W)
        with torch.no_grad():
            healthy, mask = model.translate(images)
        names = [name for name, of_set in first.items() for _ in range(len(of_set))]
        return picture_rows(images, mask, healthy), names


def mask_fault(means: Mapping[str, Sequence[float]]) -> str | None:
    """What is wrong with masks of these mean, smallest and largest values, and which weight mends it."""
    mixed, healthy = means["mixed"], means["healthy"]
    if mixed[0] > NEARLY_ALL and healthy[0] > NEARLY_ALL:
        return (
            f"The masks are ones nearly everywhere (mean {mixed[0]:.3f} mixed, {healthy[0]:.3f} healthy): the whole "
            "image is repainted. Scores may still detect, but maps no longer localise. Raise weights.size (2 to 10), "
            "or lower weights.rec, and start again."
        )
    if mixed[2] < NEARLY_NONE:
        return (
            f"The masks are zeros everywhere (largest value {mixed[2]:.3f} on mixed images): nothing is changed, and "
            "all scores go to 0. Lower weights.focus (0.05 or less) or weights.size, and start again."
        )
    if abs(mixed[1] - 0.5) < UNDECIDED and abs(mixed[2] - 0.5) < UNDECIDED:
        return (
            f"The masks stay near one half ({mixed[1]:.3f} to {mixed[2]:.3f}): every pixel is a blend of input and "
            "translation. Right after the start this is normal; if it lasts, raise weights.binary or weights.focus."
        )
    return None


def picture_rows(images: Tensor, mask: Tensor, healthy: Tensor) -> np.ndarray:
    """(N H, 4 W, 3) uint8 BGR: input, mask, translation and difference of each image.

    Args:
        images: (N, 3, H, W) RGB in [-1, 1].
        mask: (N, 1, H, W) in [0, 1].
        healthy: (N, 3, H, W) RGB in [-1, 1].
    """
    difference = (images - healthy).abs().mean(dim=1, keepdim=True) / 2  # (N, 1, H, W)
    difference = difference / difference.amax().clamp_min(1 / 255)
    panels = [(images + 1) / 2, mask.expand_as(images), (healthy + 1) / 2, difference.expand_as(images)]
    rows = torch.cat(panels, dim=3).clamp(0, 1)  # (N, 3, H, 4 W)
    rows = rows.permute(0, 2, 3, 1).flatten(0, 1)  # (N H, 4 W, 3)
    return (rows.flip(-1) * 255).round().to(torch.uint8).cpu().numpy()


def write_picture(path: Path, rows: np.ndarray, names: Sequence[str]) -> None:
    """Save rows as a JPEG, at least 96 pixels each, with the set's name on each and the columns' names above."""
    height, width = rows.shape[0] // len(names), rows.shape[1] // 4
    scale = max(1, -(-96 // height))
    picture = cv2.resize(rows, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    picture = cv2.copyMakeBorder(picture, 18, 0, 0, 0, cv2.BORDER_CONSTANT)
    places = [((4, 18 + index * height * scale + 14), name) for index, name in enumerate(names)]
    columns = ("input", "mask", "translated", "difference")
    places += [((index * width * scale + 4, 13), name) for index, name in enumerate(columns)]
    for place, text in places:
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (80, 220, 255), 1, cv2.LINE_AA)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} could not be written; is the disk full?")
