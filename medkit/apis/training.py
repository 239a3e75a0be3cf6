"""Training from a resolved config, with everything that can be wrong said before it starts. Command: tools/train.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from medkit.apis.config import num_processes
from medkit.data.checks import check_dataset, dataset_configs, num_images
from medkit.engine import prepare_cpu_processes, read_checkpoint, resolve_checkpoint
from medkit.engine.saving import resume_checkpoint
from medkit.errors import ConfigError, DatasetError, WeightsError


def train(cfg: Config, *, resume: bool | str = False) -> Runner:
    """Check, build, train.

    Args:
        cfg: what `load_config` returned.
        resume: ``True`` goes on from the last complete checkpoint of ``cfg.work_dir`` (from the start where there is
            none); a path goes on from that checkpoint.

    Raises:
        DatasetError, WeightsError, ConfigError: see `check_before_training`.
    """
    if resume:
        found = resume_checkpoint(resolve_checkpoint(resume) if isinstance(resume, str) else cfg.work_dir)
        cfg.resume, cfg.load_from = found is not None, found and str(found)
    check_before_training(cfg)
    prepare_cpu_processes(cfg)
    runner = Runner.from_cfg(cfg)
    if cfg.get("channels_last"):
        runner.model.to(memory_format=torch.channels_last)
    runner.train()
    return runner


def check_before_training(cfg: Config) -> None:
    """Raise the first kind of trouble that would stop, or silently spoil, a training.

    Raises:
        DatasetError: the data set is missing or does not fit the config; all problems, one per line.
        WeightsError: a checkpoint that the config starts from is missing.
        ConfigError: there is nothing to train.
    """
    if cfg.get("train_dataloader") is None or cfg.get("train_cfg") is None:
        raise ConfigError(f"{cfg.filename} has no train_dataloader or train_cfg, so there is nothing to train")
    problems = check_dataset(cfg)
    if problems:
        raise DatasetError("\n       ".join(problems))
    for checkpoint in pretrained_checkpoints(cfg.model):
        try:
            resolve_checkpoint(checkpoint)
        except WeightsError as error:
            config = Path(cfg.filename or "").with_name(f"{Path(checkpoint).name}.py")
            name = config.name if config.is_file() else "simsiam_liver.py"
            raise WeightsError(
                f"{error}; the backbone that this config starts from is made by "
                f"`python tools/train.py configs/{name}`, and `--cfg-options pretrained=PATH` names another one"
            ) from error
    if cfg.get("load_from"):
        read_checkpoint(cfg.load_from)
    _check_batch(cfg)


def _check_batch(cfg: Config) -> None:
    """Refuse a training set that does not fill one batch: with ``drop_last`` the run would end without a step."""
    loader, processes = cfg.train_dataloader, num_processes(cfg.get("launcher", "none"))
    count = num_images(dataset_configs(cfg)["train_dataloader"])
    if not loader.get("drop_last") or count is None or -(-count // processes) >= loader.get("batch_size", 1):
        return
    raise DatasetError(
        f"the training set has {count} images, but {processes} x {loader.batch_size} make one step of all processes, "
        f"so nothing would be trained; set `--cfg-options batch_size={max(count // processes // 4, 2)}`"
    )


def pretrained_checkpoints(model: Any) -> Iterator[str | Path]:
    """Local checkpoints that ``init_cfg`` entries of a model config name; ``torchvision://`` ones are skipped."""
    if isinstance(model, dict):
        pretrained = str(model.get("type")).endswith(("Pretrained", "PretrainedBackbone"))
        if pretrained and "://" not in str(model.get("checkpoint", "://")):
            yield model["checkpoint"]
        for value in model.values():
            yield from pretrained_checkpoints(value)
    elif isinstance(model, (list, tuple)):
        for value in model:
            yield from pretrained_checkpoints(value)
