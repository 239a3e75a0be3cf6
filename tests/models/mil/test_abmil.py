"""ABMIL against the official code's numbers, and what differs from it."""

from pathlib import Path

import torch

from medkit.models.mil import ABMIL, pad_bags
from tests.models.mil.golden import Golden

NAMES = {
    "feature_extractor_part2.0.": "embed.0.",
    "attention_V.0.": "attention.value.",
    "attention_U.0.": "attention.gate.",
    "attention_w.": "attention.weight.",
    "classifier.0.": "classifier.",
}


def test_gated_equals_official_code(golden_dir: Path) -> None:
    golden = Golden(golden_dir, "abmil_gated_attention")
    head = ABMIL(800, 1, embed_channels=12, hid_channels=6).double()
    golden.load(head, NAMES)
    output = head(golden["x"])
    golden.close(output.attention, "attention")
    golden.close(output.embedding, "Z")
    golden.close(output.logits.sigmoid(), "Y_prob")
    golden.close(head.loss(output, torch.tensor([0]))["loss_bag"][None, None], "nll_y0")
    loss = head.loss(output, torch.tensor([1]))["loss_bag"]
    golden.close(loss[None, None], "nll_y1")
    loss.backward()
    weights = dict(head.named_parameters())
    for key in [key for key in golden.arrays if key.startswith("grad_y1.")]:
        name = key.removeprefix("grad_y1.")
        old = next(old for old in NAMES if name.startswith(old))
        golden.close(weights[NAMES[old] + name.removeprefix(old)].grad, key)


def test_plain_attention_is_the_formula() -> None:
    head, bag = ABMIL(6, 2, embed_channels=5, hid_channels=4, gated=False), torch.randn(9, 6)
    h = head.embed(bag)
    scores = head.attention.weight(torch.tanh(head.attention.value(h)))[:, 0]
    expected = scores.softmax(0)
    output = head(bag[None])
    torch.testing.assert_close(output.attention[0], expected)
    torch.testing.assert_close(output.logits[0], head.classifier(expected @ h))


def test_branches_stand_side_by_side() -> None:
    feats, mask = pad_bags([torch.randn(4, 6), torch.randn(2, 6)])
    output = ABMIL(6, 2, embed_channels=5, branches=3)(feats, mask)
    assert output.attention.shape == (2, 3, 4) and output.embedding.shape == (2, 15)
    torch.testing.assert_close(output.attention.sum(2), torch.ones(2, 3))


def test_duplicated_instances_share_the_attention() -> None:
    head, bag = ABMIL(6, 2).double().eval(), torch.randn(5, 6, dtype=torch.float64)
    once, twice = head(bag[None]), head(bag.repeat(2, 1)[None])
    torch.testing.assert_close(once.logits, twice.logits)
    torch.testing.assert_close(once.attention[0] / 2, twice.attention[0, :5])


def test_memory_is_linear_in_the_bag() -> None:
    """What autograd keeps for a step, per instance, is the same for 500 and for 4000 instances."""

    def kept(instances: int) -> float:
        sizes: list[int] = []

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        head, feats = ABMIL(16, 2, embed_channels=32, hid_channels=8), torch.randn(1, instances, 16)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            head.loss(head(feats), torch.tensor([1]))
        return sum(sizes) / instances

    assert kept(4000) < 1.05 * kept(500)
