"""Random numbers that follow from (seed, epoch, rank, worker), so that a resumed run draws the same ones.

mmengine seeds once, at the start. A run that is killed in epoch 7 and resumed begins epoch 7 with the
generators of epoch 0 and so ends with other weights. Besides, its loader workers are seeded with ``seed +
worker`` whenever they start; with ``persistent_workers=False`` that is each epoch, so the random numbers of
the augmentations repeat from epoch to epoch. Config: ``custom_hooks = [dict(type='medkit.EpochSeedHook')]``.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from medkit.errors import ConfigError
from medkit.registry import HOOKS

_MAIN_PROCESS = 0  # loader workers count from 1


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Before each training epoch seeds Python, NumPy and torch, in this process and in the loader's workers.

    The shuffling sampler also receives the seed, because mmengine restores the seed of a resumed run only
    after the sampler was built. Data sets that keep random state of their own between epochs are not covered.

    Args:
        seed: ``None`` takes the run's (``randomness = dict(seed=...)``, or the one mmengine drew, which a
            resumed run restores). All ranks use that of rank 0.

    Raises:
        ConfigError: the loader keeps its workers between epochs, or the loop does not count epochs.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int | None = None) -> None:
        _check_seed("EpochSeedHook", seed)
        self.seed = seed
        self._worker_init: Callable[[int], None] | None = None

    def before_train(self, runner: Runner) -> None:
        """Check the loader and agree on one seed."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ConfigError(
                "EpochSeedHook seeds each epoch, but train_cfg asks for IterBasedTrainLoop; use train_cfg = "
                "dict(type='EpochBasedTrainLoop', max_epochs=...) or medkit.IterSeedHook"
            )
        loader = runner.train_dataloader
        if loader.persistent_workers:
            raise ConfigError(
                "EpochSeedHook: train_dataloader has persistent_workers=True, and such workers cannot be "
                "seeded for each epoch, so a resumed run would differ; set "
                "train_dataloader.persistent_workers=False"
            )
        self._run_seed = _shared_seed(runner, self.seed)
        if self._worker_init is None:
            self._worker_init = loader.worker_init_fn

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process, and the workers that start with the epoch."""
        key = (self._run_seed, runner.epoch, get_rank())
        seed_everything(*key, _MAIN_PROCESS)
        runner.train_dataloader.worker_init_fn = partial(_init_worker, key=key, first=self._worker_init)


@HOOKS.register_module()
class IterSeedHook(Hook):
    """The same for loops that count iterations: seeds this process before each of them.

    A resumed run then draws what the uninterrupted one would have drawn: the numbers of the model always, those of the
    augmentations where the loader has no workers. Workers, which fetch ahead, are seeded when they start, from the
    iteration at which that is; a resumed run so gets augmentations that are new but not the same.

    Args:
        seed: as for `EpochSeedHook`.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int | None = None) -> None:
        _check_seed("IterSeedHook", seed)
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Agree on one seed, give it to the sampler, and seed for the batch that is fetched first."""
        self._run_seed = _shared_seed(runner, self.seed)
        loader = runner.train_dataloader
        key = (self._run_seed, runner.iter, get_rank())
        loader.worker_init_fn = partial(_init_worker, key=key, first=loader.worker_init_fn)
        loader.generator = torch.Generator().manual_seed(self._run_seed)  # or starting it would draw from the others'
        self._seed_for_fetching(runner.iter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seed for this iteration's step."""
        seed_everything(self._run_seed, runner.iter, get_rank())

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Seed for fetching the next batch, whatever the step has drawn."""
        self._seed_for_fetching(runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """The same after a validation, which a resumed run does not repeat."""
        if hasattr(self, "_run_seed"):  # not in a validation without training
            self._seed_for_fetching(runner.iter)

    def _seed_for_fetching(self, iteration: int) -> None:
        seed_everything(self._run_seed, iteration, get_rank(), _MAIN_PROCESS)


def _check_seed(hook: str, seed: int | None) -> None:
    if seed is not None and (not isinstance(seed, int) or seed < 0):
        raise ConfigError(f"{hook}: seed={seed!r} must be a whole number from 0, or None for the run's seed")


def _shared_seed(runner: Runner, seed: int | None) -> int:
    """Rank 0's seed, which the shuffling sampler receives as well."""
    shared = [runner.seed if seed is None else seed]
    broadcast_object_list(shared)
    sampler = _sampler(runner.train_dataloader)
    if isinstance(getattr(sampler, "seed", None), int):
        sampler.seed = shared[0]
    return shared[0]


def seed_everything(*key: int) -> None:
    """Seed Python, NumPy and torch (all devices); different keys give unrelated streams."""
    state = np.random.SeedSequence(key).generate_state(3, np.uint64)
    random.seed(int(state[0]))
    np.random.seed(int(state[1] >> np.uint64(32)))
    torch.manual_seed(int(state[2]))


def _init_worker(worker_id: int, key: tuple[int, ...], first: Callable[[int], None] | None) -> None:
    if first is not None:
        first(worker_id)
    seed_everything(*key, worker_id + 1)


def _sampler(loader: DataLoader) -> Any:
    """The sampler that draws the indices, also below a batch sampler from the config."""
    return getattr(loader.batch_sampler, "sampler", loader.sampler)
