"""Batches of volumes followed by anchors, one or more of each class, for learning distances between classes.

Onga et al. 2019 (arXiv 1912.01824): one training example of each class, drawn anew for every step, never of a subject
that is in the batch, or the distance would be trivially small. Hoffer and Ailon, arXiv 1611.01449, draw them likewise.
Config: configs/_base_/datasets/volumes.py; command: ``python tools/train.py configs/cae3d_metric_brain_phantom.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info

from medkit.errors import ConfigError, DatasetError
from medkit.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class AnchorBatchSampler:
    """Yields lists of indices: up to ``batch_size`` items, then ``num_classes * anchors_per_class`` anchors by class.

    Items come from ``sampler``, which deals them to the processes, so that these have different ones; an item whose
    subject would leave a class without anchors waits for another batch. Anchors may be any labelled item of the data
    set, of those beyond its length too. With ``balanced`` each class has as many items in an epoch, items of the rarer
    ones several times, and they are spread evenly over the batches; unlabelled items keep their share.

    Args:
        sampler: of mmengine, with ``dataset``; the data set has ``labels`` (P,) int and ``subjects`` (P,) of str.
        batch_size: items in a batch, without the anchors.
        num_classes: of the labels 0 .. num_classes - 1.
        anchors_per_class: 0: no anchors, only balanced batches.
        balanced: see above.
        seed: the same on all processes; default the sampler's.

    Raises:
        ConfigError: a number out of range, or a data set without labels and subjects.
        DatasetError: a class has no item, or all of its items are of one subject.
    """

    def __init__(
        self,
        sampler: Any,
        batch_size: int,
        num_classes: int,
        anchors_per_class: int = 1,
        balanced: bool = True,
        seed: int | None = None,
    ) -> None:
        self.sampler, self.batch_size, self.num_classes = sampler, batch_size, num_classes
        self.anchors_per_class, self.balanced = anchors_per_class, balanced
        self.seed = seed if seed is not None else getattr(sampler, "seed", None) or 0
        self.rank = get_dist_info()[0]
        if batch_size < 1 or num_classes < 0 or anchors_per_class < 0:
            raise ConfigError(
                f"AnchorBatchSampler: batch_size={batch_size}, num_classes={num_classes}, anchors_per_class="
                f"{anchors_per_class}; expected 1 or more, and twice 0 or more"
            )
        dataset: Any = getattr(sampler, "dataset", None)
        if not hasattr(dataset, "labels") or not hasattr(dataset, "subjects"):
            raise ConfigError(
                f"AnchorBatchSampler: {type(dataset).__name__} has no labels and subjects; use medkit.VolumeDataset"
            )
        self._labels = np.asarray(dataset.labels)  # (P,)
        self._subjects = np.unique(np.asarray(dataset.subjects), return_inverse=True)[1]  # (P,)
        if anchors_per_class:
            self._check_anchors(getattr(dataset, "classes", ()))

    def _check_anchors(self, names: tuple[str, ...]) -> None:
        for label in range(self.num_classes):
            name = names[label] if label < len(names) else label
            count = len(set(self._subjects[self._labels == label]))
            if count < 2:
                raise DatasetError(
                    f"AnchorBatchSampler: class {name!r} has {'no' if not count else 'a single'} subject in training, "
                    "but its anchors must be of another subject than the batch's; give more subjects, use fewer folds, "
                    "or train without anchors (alpha = 0)"
                )

    def __len__(self) -> int:
        """Batches of this process in an epoch."""
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Batches; for ever where the sampler goes on for ever."""
        rng = np.random.default_rng((self.seed, getattr(self.sampler, "epoch", 0), self.rank))
        indices = iter(self.sampler)
        while part := list(islice(indices, len(self.sampler))):
            waiting = self._in_balance(part, rng) if self.balanced else part
            for _ in range(-(-len(part) // self.batch_size)):
                chosen, waiting = self._next(waiting or part)
                yield chosen + self._anchors(chosen, rng)

    def _in_balance(self, part: list[int], rng: np.random.Generator) -> list[int]:
        """As many items as ``part`` in the order drawn, each class equally often and evenly spread."""
        labels = self._labels[part]
        groups = [np.array(part)[labels == label] for label in np.unique(labels)]
        names = np.unique(labels)
        classes, labelled = (names >= 0).sum(), (labels >= 0).sum()
        places, items = [], []
        for name, group in zip(names, groups, strict=True):
            count = len(group) if name < 0 else -(-labelled // classes)
            items.append(np.resize(group, count))
            places.append((np.arange(count) + rng.uniform(0, 1, count)) / count)
        return np.concatenate(items)[np.argsort(np.concatenate(places))][: len(part)].tolist()

    def _next(self, waiting: list[int]) -> tuple[list[int], list[int]]:
        """The next batch without anchors, and what still waits."""
        chosen: list[int] = []
        passed: list[int] = []
        for place, item in enumerate(waiting):
            if len(chosen) == self.batch_size:
                return chosen, passed + waiting[place:]
            (chosen if self._leaves_anchors([*chosen, item]) else passed).append(item)
        return chosen, passed

    def _free(self, chosen: list[int], label: int) -> np.ndarray:
        """Items of a class whose subjects are not in the batch."""
        return np.flatnonzero((self._labels == label) & ~np.isin(self._subjects, self._subjects[chosen]))

    def _leaves_anchors(self, chosen: list[int]) -> bool:
        return not self.anchors_per_class or all(len(self._free(chosen, c)) for c in range(self.num_classes))

    def _anchors(self, chosen: list[int], rng: np.random.Generator) -> list[int]:
        """``num_classes * anchors_per_class`` items in order of class; one twice only where there are too few."""
        drawn: list[int] = []
        for label in range(self.num_classes if self.anchors_per_class else 0):
            free = self._free(chosen, label)
            drawn += rng.choice(free, self.anchors_per_class, replace=len(free) < self.anchors_per_class).tolist()
        return drawn
