"""Standardized features: statistics of the training's instances alone, padding left out, kept in the checkpoint."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from medkit.errors import ConfigError
from medkit.models.mil import BagClassifier
from medkit.models.mil.standardize import Standardize


def test_statistics_are_those_of_all_instances_met() -> None:
    torch.manual_seed(0)
    bags = [3 + 2 * torch.randn(count, 5, dtype=torch.float64) for count in (1, 4, 30)]
    module = Standardize(5, eps=0.0)
    for bag in bags:
        padded = torch.cat([bag, torch.full((2, 5), torch.nan, dtype=torch.float64)])[None]
        out = module(padded, torch.tensor([[True] * len(bag) + [False] * 2]))
        assert (out[:, -2:] == 0).all()
    every = torch.cat(bags)
    torch.testing.assert_close(module.mean, every.mean(0))
    torch.testing.assert_close(module.squares / module.count, every.var(0, correction=0))
    module.eval()
    found = module(every[None], torch.ones(1, len(every), dtype=torch.bool))[0]
    torch.testing.assert_close(found, (every - every.mean(0)) / every.std(0, correction=0))
    assert module.count == len(every)  # evaluation meets nothing


def test_a_bag_is_the_same_alone_and_in_a_batch_and_before_anything_was_met() -> None:
    bag, mask = torch.rand(1, 4, 3), torch.ones(1, 4, dtype=torch.bool)
    module = Standardize(3).eval()
    assert torch.equal(module(bag, mask), bag)
    module.train()(torch.rand(2, 9, 3).half(), torch.ones(2, 9, dtype=torch.bool))
    module.eval()
    both = module(torch.cat([bag, torch.rand(1, 4, 3)]), mask.expand(2, -1))
    assert torch.equal(both[:1], module(bag, mask)) and both.dtype == torch.float32
    assert torch.isfinite(module(bag, torch.zeros_like(mask))).all()
    with pytest.raises(ConfigError, match="channels=0"):
        Standardize(0)


def test_classifier_standardizes_and_keeps_the_statistics() -> None:
    torch.manual_seed(0)
    head = dict(type="medkit.ABMIL", in_channels=6, num_classes=2)
    model = BagClassifier(head, standardize=True)
    feats, mask = 100 + torch.randn(2, 8, 6), torch.ones(2, 8, dtype=torch.bool)
    model.train()(dict(feats=feats, mask=mask), mode="tensor")
    again = BagClassifier(head, standardize=True)
    again.load_state_dict(model.state_dict())
    moved = (feats - feats.mean((0, 1))) / feats.std((0, 1), correction=0)
    plain = model.eval().head(moved, mask).logits
    for one in (model, again.eval()):
        torch.testing.assert_close(one(dict(feats=feats, mask=mask)).logits, plain, rtol=1e-4, atol=1e-4)
    assert not any("standard" in name for name in BagClassifier(head).state_dict())


def bags_of(rank: int) -> list[torch.Tensor]:
    """Bags that a process meets; the second meets an empty one."""
    generator = torch.Generator().manual_seed(rank)
    return [5 + rank + torch.randn(count, 3, generator=generator) for count in ((7, 4), (2, 0))[rank]]


def meet_in_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    module = Standardize(3)
    for bag in bags_of(rank):
        module(bag[None], torch.ones(1, len(bag), dtype=torch.bool))
    torch.save(module.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_keep_the_statistics_of_both(tmp_path: Path) -> None:
    mp.spawn(meet_in_process, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    every = torch.cat([*bags_of(0), *bags_of(1)]).double()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    torch.testing.assert_close(first["mean"], every.mean(0))
    torch.testing.assert_close(first["squares"] / first["count"], every.var(0, correction=0))
