"""The contract, for every head: padding, order, small bags, gradients, low precision, faults."""

import pytest
import torch
from torch import Tensor

from medkit.errors import ConfigError
from medkit.models.mil import MILHead, pad_bags
from medkit.registry import MODELS

SIZE = dict(in_channels=12, num_classes=3)
HEADS: dict[str, dict] = {
    **{f"pooling_{name}": dict(type="PoolingMIL", pooling=name) for name in ("mean", "max", "mean_max", "lse")},
    **{f"instance_{name}": dict(type="PoolingMIL", pooling=name, level="instance") for name in ("mean", "max", "lse")},
    "max_instance": dict(type="MaxInstanceMIL"),
    "abmil": dict(type="ABMIL", gated=False),
    "abmil_gated": dict(type="ABMIL"),
    "abmil_branches": dict(type="ABMIL", branches=2),
    "clam_sb": dict(type="CLAM"),
    "clam_mb": dict(type="CLAM", multi_branch=True, subtyping=True),
    "dsmil": dict(type="DSMIL"),
    "transmil": dict(type="TransMIL", embed_channels=16),
    "concat_tile": dict(type="ConcatTileMIL", dropout=0.0),
    "attention_max": dict(type="AttentionMaxMIL"),
    "sequence": dict(type="SequenceMIL", hid_channels=8),
}
ORDERED = {"sequence", "transmil"}  # heads for which the order of the instances means something
LENGTHS = (7, 1, 5, 2)


def build(name: str, **changes) -> MILHead:
    torch.manual_seed(0)
    config = SIZE | HEADS[name] | changes
    return MODELS.build(config | dict(type=f"medkit.{config['type']}")).eval()


def bags(lengths: tuple[int, ...] = LENGTHS, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(k, 12, generator=generator) for k in lengths]


every_head = pytest.mark.parametrize("name", HEADS)


@pytest.mark.parametrize("seed", [1, 2, 3])
@every_head
def test_padded_equals_single(name: str, seed: int) -> None:
    """With random biases, so that padding would often score highest if it were looked at."""
    head, single = build(name).double(), [bag.double() for bag in bags(seed=seed)]
    with torch.no_grad():
        for weight in head.parameters():
            weight += 0.5 * torch.randn_like(weight) if weight.dim() == 1 else 0
    feats, mask = pad_bags(single)
    feats[~mask] = float("nan")
    batch = head(feats, mask)
    for index, bag in enumerate(single):
        alone = head(bag[None])
        torch.testing.assert_close(batch.logits[index], alone.logits[0], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(batch.embedding[index], alone.embedding[0], rtol=1e-9, atol=1e-11)
        if batch.attention is not None:
            rows = batch.attention[index].reshape(-1, feats.shape[1])  # (H, K)
            torch.testing.assert_close(rows[:, : len(bag)], alone.attention[0].reshape(-1, len(bag)))
            assert not rows[:, len(bag) :].any(), "padding has attention"


@every_head
def test_shapes_and_gradients(name: str) -> None:
    """Also K = 1, and an empty bag, which must not turn its neighbours into NaN."""
    feats, mask = pad_bags([*bags(), torch.empty(0, 12)])
    feats.requires_grad_()
    head = build(name).train()
    output = head(feats, mask)
    assert output.logits.shape == (5, 3) and output.embedding.dim() == 2
    assert output.attention is None or output.attention.shape in ((5, 7), (5, output.attention.shape[1], 7))
    assert output.attention is None or not output.attention[4].any(), "an empty bag has attention"
    losses = head.loss(output, torch.tensor([0, 1, 2, 1, 0]))
    assert all(value.isfinite() and value.dim() == 0 for value in losses.values())
    sum(value for key, value in losses.items() if "loss" in key).backward()
    assert feats.grad.isfinite().all() and feats.grad[mask].any() and not feats.grad[~mask].any()
    for key, weight in head.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), key


@every_head
def test_order_of_instances(name: str) -> None:
    head, bag = build(name).double(), bags((9,))[0].double()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    one, other = head(bag[None]), head(bag[order][None])
    if name in ORDERED:
        assert (one.logits - other.logits).abs().max() > 1e-6
        return
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-10, atol=1e-12)
    if one.attention is not None:
        torch.testing.assert_close(one.attention[..., order], other.attention, rtol=1e-10, atol=1e-12)


@every_head
def test_bfloat16_is_close_and_its_attention_float32(name: str) -> None:
    head, (feats, mask) = build(name), pad_bags(bags())
    exact = head(feats, mask)
    with torch.autocast("cpu", torch.bfloat16):
        low = head(feats.half(), mask)
    torch.testing.assert_close(low.logits.float(), exact.logits, rtol=0.1, atol=0.05)
    assert low.attention is None or low.attention.dtype == torch.float32


@every_head
def test_one_logit_and_several_labels_at_once(name: str) -> None:
    feats, mask = pad_bags(bags((4, 3)))
    if HEADS[name]["type"] == "CLAM":  # its classes exclude each other
        with pytest.raises(ConfigError, match="num_classes=1"):
            build(name, num_classes=1)
        return
    for head, labels in ((build(name, num_classes=1), torch.tensor([0, 1])), (build(name), torch.eye(3)[:2])):
        assert sum(head.loss(head(feats, mask), labels).values()).isfinite()


@every_head
def test_bad_bags_are_named(name: str) -> None:
    head, (feats, mask) = build(name), pad_bags(bags())
    faults = [
        (lambda: head(feats[..., :5], mask), "5 wide, the head expects 12"),
        (lambda: head(feats, mask[:, :3]), r"mask \(4, 3\)"),
        (lambda: head(feats, mask.float()), "torch.float32"),
        (lambda: head(feats[0], mask), "expected .bags, instances, channels"),
        (lambda: head(feats, mask, torch.zeros(4, 7)), "coords"),
        (lambda: head.loss(head(feats, mask), torch.zeros(3)), "labels"),
        (lambda: head.loss(head(feats, mask), torch.tensor([0, 1, 3, 2])), r"labels \[0, 1, 3, 2\]"),
    ]
    for call, said in faults:
        with pytest.raises(ConfigError, match=said):
            call()
