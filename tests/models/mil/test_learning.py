"""Each head learns bags that are positive when one of their instances is of a certain kind, and attention finds it."""

import pytest
import torch
from torch import Tensor

from medkit.models.mil import MILHead, pad_bags
from medkit.registry import MODELS

HEADS: dict[str, dict] = {
    "max": dict(type="PoolingMIL", pooling="max"),
    "lse": dict(type="PoolingMIL", pooling="lse", level="instance", sharpness=2.0),
    "max_instance": dict(type="MaxInstanceMIL", embed_channels=16, dropout=0.0),
    "abmil": dict(type="ABMIL", embed_channels=16, hid_channels=8, gated=False),
    "abmil_gated": dict(type="ABMIL", embed_channels=16, hid_channels=8),
    "clam_sb": dict(type="CLAM", embed_channels=16, hid_channels=8, k=1, dropout=0.0),
    "clam_mb": dict(type="CLAM", embed_channels=16, hid_channels=8, k=1, dropout=0.0, multi_branch=True),
    "dsmil": dict(type="DSMIL", query_channels=8),
    "attention_max": dict(type="AttentionMaxMIL", hid_channels=8),
    "concat_tile": dict(type="ConcatTileMIL", hid_channels=16, dropout=0.0),
}
FINDS = {"max_instance", "abmil", "abmil_gated", "clam_sb", "clam_mb", "dsmil", "attention_max"}


def toy(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bags of 3 to 8 vectors; each positive one has a vector whose first number is 4 higher, eight times the noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    bags, keys = [], torch.zeros(count, 8, dtype=torch.bool)
    for number in range(count):
        length = int(torch.randint(3, 9, (1,), generator=generator))
        bags.append(torch.randn(length, 6, generator=generator) / 2)
        key = int(torch.randint(length, (1,), generator=generator))
        if labels[number]:
            bags[-1][key, 0] += 4
            keys[number, key] = True
    feats, mask = pad_bags(bags)
    return feats, mask, labels, keys[:, : feats.shape[1]]


@pytest.mark.parametrize("name", HEADS)
def test_learns_and_finds(name: str) -> None:
    torch.manual_seed(0)
    config = HEADS[name]
    head: MILHead = MODELS.build(config | dict(type=f"medkit.{config['type']}", in_channels=6, num_classes=2))
    feats, mask, labels, _ = toy(48, 0)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        sum(head.loss(head(feats, mask), labels).values()).backward()
        optimizer.step()
    feats, mask, labels, keys = toy(64, 1)
    with torch.no_grad():
        output = head.eval()(feats, mask)
    right = (output.logits.argmax(1) == labels).float().mean().item()
    assert right >= 0.85
    if name in FINDS:
        attention = output.attention if output.attention.dim() == 2 else output.attention[:, 1]
        found = attention.argmax(1) == keys.int().argmax(1)
        assert found[labels == 1].float().mean() >= 0.85
