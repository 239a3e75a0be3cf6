"""Anchors are of the right classes, never of a subject in the batch, drawn anew; processes get different items."""

from itertools import islice

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler

from medkit.data.anchor_sampler import AnchorBatchSampler
from medkit.errors import ConfigError, DatasetError


class Volumes:
    """Subjects with two visits each; ``counts`` of them in each class."""

    def __init__(self, *counts: int, unlabelled: int = 0) -> None:
        of_subject = np.repeat([*range(len(counts)), -1], [*counts, unlabelled])
        self.labels = np.repeat(of_subject, 2)
        self.subjects = np.repeat([f"s{n}" for n in range(len(of_subject))], 2)
        self.classes = tuple("abc"[: len(counts)])

    def __len__(self) -> int:
        return len(self.labels)


def make(data, batch_size: int = 4, shuffle: bool = True, **options) -> AnchorBatchSampler:
    return AnchorBatchSampler(DefaultSampler(data, shuffle=shuffle, seed=0), batch_size, **options)


@pytest.mark.parametrize("counts, anchors, batch_size", [((10, 5), 1, 4), ((2, 2), 1, 4), ((3, 4, 9), 2, 6)])
def test_anchors(counts: tuple[int, ...], anchors: int, batch_size: int) -> None:
    data, classes = Volumes(*counts), len(counts)
    sampler = make(data, batch_size, num_classes=classes, anchors_per_class=anchors)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    for batch in batches:
        items, drawn = batch[: -classes * anchors], batch[-classes * anchors :]
        assert 1 <= len(items) <= batch_size
        assert data.labels[drawn].tolist() == np.repeat(range(classes), anchors).tolist()
        assert not set(data.subjects[drawn]) & set(data.subjects[items])


def test_anchors_are_drawn_anew_and_seeded() -> None:
    data = Volumes(10, 10)
    sampler = make(data, num_classes=2)
    first, again = list(sampler), list(make(data, num_classes=2))
    assert first == again and len({tuple(batch[-2:]) for batch in first}) > len(first) / 2
    sampler.sampler.set_epoch(1)
    assert list(sampler) != first


def test_classes_are_balanced_over_and_within_batches() -> None:
    data = Volumes(18, 6)
    batches = [batch[:8] for batch in make(data, 8, num_classes=2, anchors_per_class=0)]
    counts = np.array([np.bincount(data.labels[batch], minlength=2) for batch in batches])
    assert counts.sum(axis=0).tolist() == [24, 24]
    assert (abs(counts[:, 0] - counts[:, 1]) <= 4).all()
    rare = np.concatenate(batches)[data.labels[np.concatenate(batches)] == 1]
    assert np.bincount(rare)[36:].tolist() == [2] * 12, "each rare item equally often"


def test_without_balance_every_item_comes_once() -> None:
    data = Volumes(9, 3)
    seen = [item for batch in make(data, num_classes=2, balanced=False) for item in batch[:-2]]
    assert sorted(seen) == list(range(24))


def test_unlabelled_items_keep_their_share_and_are_no_anchors() -> None:
    data = Volumes(6, 6, unlabelled=4)
    batches = list(make(data, num_classes=2))
    assert sum(data.labels[item] < 0 for batch in batches for item in batch[:-2]) == 8
    assert all((data.labels[batch[-2:]] == [0, 1]).all() for batch in batches)


def test_processes_get_disjoint_items(monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = Volumes(8, 8), []
    for rank in range(2):
        for module in ("mmengine.dataset.sampler", "medkit.data.anchor_sampler"):
            monkeypatch.setattr(f"{module}.get_dist_info", lambda rank=rank: (rank, 2))
        seen.append({item for batch in make(data, num_classes=2) for item in batch[:-2]})
    assert not seen[0] & seen[1] and len(seen[0]) >= 14


def test_goes_on_with_an_endless_sampler() -> None:
    data = Volumes(4, 4)
    sampler = AnchorBatchSampler(InfiniteSampler(data, seed=0), 4, num_classes=2)
    assert len(list(islice(sampler, 50))) == 50


def test_anchors_come_from_beyond_the_length_too() -> None:
    data = Volumes(4, 4)
    data.subjects, data.labels = data.subjects[[0, 8, 2, 10]], data.labels[[0, 8, 2, 10]]  # of four subjects
    short = DefaultSampler(range(2), shuffle=False, seed=0)
    short.dataset = data
    (batch,) = AnchorBatchSampler(short, 2, num_classes=2)
    assert sorted(batch[:2]) == [0, 1] and batch[2:] == [2, 3]


def test_a_converter_is_never_its_own_anchor() -> None:
    data = Volumes(4, 4)
    data.subjects = np.where(data.subjects == "s4", "s0", data.subjects)  # first in class 0, then in class 1
    for batch in make(data, num_classes=2):
        assert not set(data.subjects[batch[-2:]]) & set(data.subjects[batch[:-2]])


def test_faults() -> None:
    with pytest.raises(DatasetError, match=r"class 'b' has a single subject in training.*fewer folds"):
        make(Volumes(3, 1), num_classes=2)
    with pytest.raises(DatasetError, match="class 2 has no subject"):
        make(Volumes(3, 3), num_classes=3)
    make(Volumes(3, 1), num_classes=2, anchors_per_class=0)
    with pytest.raises(ConfigError, match=r"batch_size=0"):
        make(Volumes(3, 3), 0, num_classes=2)
    with pytest.raises(ConfigError, match=r"list has no labels and subjects; use medkit.VolumeDataset"):
        make([1, 2], num_classes=2)
