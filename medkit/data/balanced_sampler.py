"""Items of each class equally often, as CLAM trains (Lu et al. 2021) and SparseConvMIL does with rare cancers.

    sampler = dict(type='medkit.ClassBalancedSampler')

Command: ``python tools/train.py configs/clam_sb_slides.py``.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from medkit.errors import ConfigError
from medkit.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ClassBalancedSampler(Sampler[int]):
    """As many items in an epoch as the data set has, each class in equal number, in random order.

    Items of a frequent class take turns from epoch to epoch; those of a rare one come several times, none more than
    once oftener than another. (With weights and replacement, as CLAM draws, the numbers are equal only on average.) The
    order follows from ``seed`` and the epoch alone, so that a resumed run draws the same one; processes get disjoint
    parts of equal length.

    Args:
        dataset: with ``labels``, one class from 0 for each item.
        seed: the same on all processes; default: a common random one.

    Raises:
        ConfigError: the data set has no ``labels``, or not one for each item.
    """

    def __init__(self, dataset: Any, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        labels = getattr(dataset, "labels", None)
        if labels is None or len(labels) != len(dataset):
            raise ConfigError(
                f"ClassBalancedSampler: {type(dataset).__name__} has no labels, one for each of its items; use "
                "medkit.BagDataset, or mmengine's DefaultSampler"
            )
        labels = np.asarray(labels)
        self._groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self._length = len(labels)

    def __len__(self) -> int:
        """Items of this process in an epoch."""
        return -(-self._length // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order `__iter__` gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Indices of this process."""
        total = len(self) * self.world_size
        rng = np.random.default_rng((self.seed, self.epoch))
        more = rng.permutation(len(self._groups))[: total % len(self._groups)]  # classes that get what is left over
        drawn = []
        for number, group in enumerate(self._groups):
            count = total // len(self._groups) + (number in more)
            start = self.epoch * (total // len(self._groups))  # where the last epoch stopped, in a fixed shuffle
            order = np.random.default_rng((self.seed, number)).permutation(group)
            drawn.append(order[(start + np.arange(count)) % len(group)])
        return iter(rng.permutation(np.concatenate(drawn))[self.rank :: self.world_size].tolist())
