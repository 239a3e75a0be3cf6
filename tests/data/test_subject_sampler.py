"""No subject twice in a step, all are seen, processes share nothing, a resumed run draws the same."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import DATA_SAMPLERS

from medkit.data import subject_sampler
from medkit.data.subject_sampler import SubjectSampler
from medkit.errors import ConfigError, DatasetError


class Listed(list):
    """A data set of which only the subjects matter."""

    @property
    def subjects(self) -> list[str]:
        return list(self)


def sampler(subjects: list, batch_size: int = 4, rank: int = 0, world: int = 1, **kwargs) -> SubjectSampler:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject_sampler, "get_dist_info", lambda: (rank, world))
        return SubjectSampler(Listed(subjects), batch_size, **{"seed": 0, **kwargs})


def drawn(subjects: list, batch_size: int, epoch: int = 0, world: int = 1, **kwargs) -> np.ndarray:
    """(steps, world, batch_size) indices of one epoch."""
    parts = []
    for rank in range(world):
        one = sampler(subjects, batch_size, rank, world, **kwargs)
        one.set_epoch(epoch)
        indices = list(one)
        assert len(indices) == len(one)
        parts.append(np.array(indices).reshape(-1, batch_size))
    return np.stack(parts, axis=1)


def random_subjects(rng: np.random.Generator) -> list[str]:
    """6 to 40 people with one or two eyes, some with follow-up images."""
    counts = rng.choice([1, 2, 2, 2, 5, 17], size=rng.integers(6, 40))
    subjects = [f"p{i}" for i, count in enumerate(counts) for _ in range(count)]
    return list(rng.permutation(subjects))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("world", [1, 2])
def test_no_subject_twice_in_a_step_and_all_are_seen(seed: int, world: int) -> None:
    subjects = random_subjects(np.random.default_rng(seed))
    names = np.array(subjects)
    batch_size = min(1 + seed % 3, len(set(subjects)) // world)
    for round_up in (True, False):
        steps = drawn(subjects, batch_size, world=world, seed=seed, round_up=round_up)
        for step in steps.reshape(len(steps), -1):
            assert len(set(names[step])) == step.size  # so the processes are disjoint, too
        used, counts = np.unique(steps, return_counts=True)
        if round_up:
            assert set(names[used]) == set(subjects)
            assert len(steps) == -(-len(subjects) // (batch_size * world))
            # an image is left out only where its subject is in every step already
            for left in set(range(len(subjects))) - set(used.tolist()):
                assert np.isin(names[steps.reshape(len(steps), -1)], names[left]).any(axis=1).all()
        else:
            assert (counts == 1).all()


def test_two_eyes_of_everyone_fill_the_steps_exactly() -> None:
    subjects = [f"p{i // 2}" for i in range(64)]
    steps = drawn(subjects, 8)
    assert sorted(steps.ravel()) == list(range(64))


def test_order_follows_from_seed_and_epoch() -> None:
    subjects = [f"p{i // 2}" for i in range(40)]
    np.testing.assert_array_equal(drawn(subjects, 4, epoch=3), drawn(subjects, 4, epoch=3))
    assert (drawn(subjects, 4, epoch=3) != drawn(subjects, 4, epoch=4)).any()
    assert (drawn(subjects, 4, seed=1) != drawn(subjects, 4, seed=2)).any()
    resumed = sampler(subjects)
    resumed.seed, resumed.epoch = 7, 5  # as EpochSeedHook and DistSamplerSeedHook set them
    np.testing.assert_array_equal(list(resumed), drawn(subjects, 4, epoch=5, seed=7).ravel())
    still = dict(shuffle=False)
    np.testing.assert_array_equal(drawn(subjects, 4, epoch=3, **still), drawn(subjects, 4, epoch=4, **still))


def test_left_out_images_have_their_turn_in_other_epochs() -> None:
    subjects = ["often"] * 30 + [f"p{i}" for i in range(10)]
    seen = {int(i) for epoch in range(40) for i in drawn(subjects, 4, epoch=epoch).ravel()}
    assert seen == set(range(40))


def test_partners_change() -> None:
    """Steps are mixed: over the epochs everyone meets nearly everyone."""
    subjects = [f"p{i // 2}" for i in range(40)]
    met = {
        frozenset((subjects[a], subjects[b]))
        for epoch in range(60)
        for step in drawn(subjects, 4, epoch=epoch)[:, 0]
        for a in step
        for b in step
        if a != b
    }
    assert len(met) == 20 * 19 // 2


def test_too_few_subjects_and_other_data_sets_are_named() -> None:
    with pytest.raises(DatasetError, match=r"6 images are of 3 subjects.*2 x 2 images.*batch_size=1"):
        sampler(list("aabbcc"), 2, world=2)
    with pytest.raises(ConfigError, match="SimpleNamespace has no subjects"):
        SubjectSampler(SimpleNamespace(), 2)


def test_built_by_name() -> None:
    built = DATA_SAMPLERS.build(dict(type="medkit.SubjectSampler", dataset=Listed("abcd"), batch_size=2, seed=1))
    assert len(built) == 4
