"""Batches in which no subject has two images, so that the two eyes of a person are no negatives of each other.

    sampler = dict(type='medkit.SubjectSampler', batch_size='${batch_size}')

ContIG (CVPR 2022) shuffles images; two of one person in a batch share a vector and yet count as different.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from medkit.errors import ConfigError, DatasetError
from medkit.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SubjectSampler(Sampler[int]):
    """As mmengine's `DefaultSampler`, but the images of one step, over all processes, are of different subjects.

    An epoch has whole batches only. A subject can be in each of them once; images beyond that wait for another
    epoch (the draw is new each time). The order follows from ``seed`` and the epoch alone, so that a resumed run
    draws the same one; processes get disjoint parts of each step.

    Args:
        dataset: with ``subjects``, one per image.
        batch_size: of the loader, per process.
        seed: the same on all processes; default: a common random one.
        round_up: fill the last step with images that are drawn a second time, so that every subject is seen in
            every epoch; otherwise the images that would start another step are left out, others each time.
        shuffle: new order each epoch; otherwise that of epoch 0 each time.

    Raises:
        ConfigError: the data set has no ``subjects``.
        DatasetError: fewer subjects than images in one step.
    """

    def __init__(
        self, dataset: Any, batch_size: int, seed: int | None = None, round_up: bool = True, shuffle: bool = True
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        if not hasattr(dataset, "subjects"):
            raise ConfigError(
                f"SubjectSampler: {type(dataset).__name__} has no subjects; use medkit.ImageVectors, or mmengine's "
                "DefaultSampler"
            )
        self.batch_size, self.round_up, self.shuffle = batch_size, round_up, shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        subjects = list(dataset.subjects)
        numbers = {name: number for number, name in enumerate(dict.fromkeys(subjects))}
        self._subject = np.array([numbers[name] for name in subjects])  # (N,)
        self._counts = np.bincount(self._subject)
        step = batch_size * self.world_size
        if len(numbers) < step:
            raise DatasetError(
                f"SubjectSampler: {len(subjects)} images are of {len(numbers)} subjects, but a step of "
                f"{self.world_size} x {batch_size} images needs as many different ones; set "
                f"batch_size={max(len(numbers) // self.world_size, 1)}"
            )
        self.num_steps = self._fitting_steps(step)

    def _fitting_steps(self, step: int) -> int:
        """Most steps for which enough images are left when each subject is in each step at most once."""
        total = len(self._subject)
        if self.round_up:
            return -(-total // step)
        steps = total // step
        while np.minimum(self._counts, steps).sum() < steps * step:
            steps -= 1
        return steps

    def __len__(self) -> int:
        """Images of this process in an epoch."""
        return self.num_steps * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order `__iter__` gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Indices of this process, step after step."""
        rng = np.random.default_rng((self.seed, self.epoch if self.shuffle else 0))
        steps = self._steps(rng)  # (S, world_size * batch_size)
        start = self.rank * self.batch_size
        return iter(steps[:, start : start + self.batch_size].ravel().tolist())

    def _steps(self, rng: np.random.Generator) -> np.ndarray:
        """(S, world_size * batch_size) indices.

        Each subject's images go to different steps, always the least filled ones: steps then never differ by more
        than one image, so that all of them come out full.
        """
        size = self.num_steps * self.batch_size * self.world_size
        steps: list[list[int]] = [[] for _ in range(self.num_steps)]
        waiting: list[int] = []  # steps with the fewest images
        for images in self._drawn(rng, size):
            taken, waiting = waiting[: len(images)], waiting[len(images) :]
            if len(taken) < len(images):
                others = np.setdiff1d(np.arange(self.num_steps), taken)
                more = rng.permutation(others)[: len(images) - len(taken)].tolist()
                waiting = rng.permutation(np.setdiff1d(np.arange(self.num_steps), more)).tolist()
                taken += more
            for step, image in zip(taken, images, strict=True):
                steps[step].append(image)
        drawn = [rng.permutation(step) for step in steps]
        return np.array([drawn[step] for step in rng.permutation(self.num_steps)], dtype=int)

    def _drawn(self, rng: np.random.Generator, size: int) -> list[list[int]]:
        """Images by subject, ``size`` in all, at most ``num_steps`` of each subject."""
        order = rng.permutation(len(self._subject))
        used: Counter[int] = Counter()
        chosen: dict[int, list[int]] = {int(subject): [] for subject in self._subject[order]}
        ranked = []
        for position, image in enumerate(order.tolist()):
            subject = int(self._subject[image])
            ranked.append((used[subject], position, image))
            used[subject] += 1
        ranked.sort()
        for turn, _, image in ranked:
            if turn < self.num_steps and size > 0:
                chosen[int(self._subject[image])].append(image)
                size -= 1
        while size > 0:
            for subject in rng.permutation(len(self._counts)).tolist():
                if size > 0 and len(chosen[subject]) < self.num_steps:
                    chosen[subject].append(int(rng.choice(np.flatnonzero(self._subject == subject))))
                    size -= 1
        return [images for images in chosen.values() if images]
