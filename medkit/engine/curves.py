"""results.png: the curves of a running training, redrawn after each validation.

The epochs at which `medkit.StepwiseUnfreezeHook` releases a stage are marked; `release_epochs` reads them from a
resolved config, for a report too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from medkit.engine.unfreeze import RESNET_STAGES, equal_schedule

__all__ = ["draw_results", "release_epochs"]


def release_epochs(cfg: Config) -> list[tuple[int, str]]:
    """(first epoch in which a stage trains, counted from 1; its name), in the order of release.

    Empty where nothing is released on the way: another mode than stepwise, or no such hook.
    """
    for hook in cfg.get("custom_hooks") or []:
        if str(hook.get("type")).endswith("StepwiseUnfreezeHook") and hook.get("mode", "stepwise") == "stepwise":
            stages: Sequence[Sequence[str]] = hook.get("stages") or RESNET_STAGES
            epochs = hook.get("schedule") or equal_schedule(cfg.train_cfg.max_epochs, len(stages))
            return [(epoch + 1, _stage_name(stage)) for epoch, stage in zip(epochs, stages, strict=True)]
    return []


def _stage_name(stage: Sequence[str]) -> str:
    return stage[0] + (" + stem" if "conv1" in stage else "" if len(stage) == 1 else " ...")


def draw_results(
    rows: Sequence[dict[str, str]], releases: Sequence[tuple[int, str]], path: Path, logger: logging.Logger
) -> None:
    """Draw rows of metrics.csv; a kill leaves the old picture or the new one.

    A picture is not worth a training: whatever goes wrong in drawing or writing is one line of the log.
    """
    draft = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        from medkit.visualization.training import plot_training

        numbers = [{k: v if k == "split" else float(v) for k, v in row.items()} for row in rows]
        plot_training(numbers, releases, title=path.resolve().parent.name, path=draft)
        draft.replace(path)
    except Exception as error:
        logger.warning(f"{path.name} is not drawn ({type(error).__name__}: {error}); the training goes on")
