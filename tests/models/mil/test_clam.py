"""CLAM and its instance loss against the official code's numbers, and what differs from it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medkit.errors import ConfigError
from medkit.models.mil import CLAM, pad_bags, smooth_top1_svm
from tests.models.mil.golden import Golden

CASES = ("sb2_y1", "sb2_y0", "sb3sub_y2", "mb2_y1", "mb3sub_y0", "sb2nogate_y1")
NAMES = {
    "attention_net.0.": "embed.0.",
    "attention_net.3.attention_a.0.": "attention.value.",
    "attention_net.3.attention_b.0.": "attention.gate.",
    "attention_net.3.attention_c.": "attention.weight.",
    "attention_net.3.module.0.": "attention.value.",
    "attention_net.3.module.2.": "attention.weight.",
    "instance_classifiers.": "instance_classifiers.",
    "classifiers.": "classifier.",
}


def loaded(golden: Golden, tag: str) -> tuple[CLAM, dict]:
    case = next(case for case in golden.info["arguments"]["cases"] if case["tag"] == tag)
    head = CLAM(
        24,
        case["n_classes"],
        multi_branch=case["cls"] == "CLAM_MB",
        embed_channels=16,
        hid_channels=8,
        gated=case["gate"],
        k=case["k_sample"],
        subtyping=case["subtyping"],
        instance_loss="ce",
    ).double()
    if case["cls"] == "CLAM_MB":  # one Linear(16, 1) per class there, one row per class here
        for kind in ("weight", "bias"):
            rows = [golden.arrays.pop(f"{tag}/w.classifiers.{c}.{kind}") for c in range(case["n_classes"])]
            golden.arrays[f"{tag}/w.classifiers.{kind}"] = torch.cat(rows)
    golden.load(head, NAMES, prefix=f"{tag}/w.")
    return head.eval(), case


@pytest.mark.parametrize("tag", CASES)
def test_equals_official_code(golden_dir: Path, tag: str) -> None:
    golden = Golden(golden_dir, "clam_forward")
    head, case = loaded(golden, tag)
    feats = golden["h"].requires_grad_()
    output = head(feats[None])
    golden.close(output.logits, f"{tag}/logits")
    golden.close(output.embedding.reshape(-1, 16), f"{tag}/bag_feature")
    golden.close(head.attention(head.embed(feats[None]))[0], f"{tag}/A_raw")
    losses = head.loss(output, torch.tensor([case["label"]]))
    golden.close(losses["loss_bag"] / 0.7, f"{tag}/bag_ce")
    golden.close(losses["loss_instance"] / 0.3, f"{tag}/instance_loss")
    total = sum(losses.values())
    golden.close(total, f"{tag}/total_loss")
    total.backward()
    golden.close(feats.grad, f"{tag}/grad_h")


def test_smooth_svm_equals_golden(golden_dir: Path) -> None:
    golden = Golden(golden_dir, "smooth_top1_svm")
    for case, scores, labels in (("2c", golden["scores"], golden["y"]), ("3c", golden["scores3"], golden["y3"])):
        for tau in (1.0, 0.5):
            each = smooth_top1_svm(scores, labels, tau)
            golden.close(each, f"{case}/tau{tau}/per_sample")
            golden.close(each.mean(), f"{case}/tau{tau}/mean")
        golden.close(smooth_top1_svm(scores, labels, 0), f"{case}/hard/per_sample")


def test_smooth_svm_of_far_scores_is_finite() -> None:
    scores = torch.tensor([[1e6, -1e6], [-1e6, 1e6]], requires_grad=True)
    each = smooth_top1_svm(scores, torch.tensor([0, 0]))
    each.sum().backward()
    assert each.tolist() == [0.0, 2000001.0] and scores.grad.isfinite().all()


@pytest.mark.parametrize("instances, used", [(1, 0), (2, 2), (3, 2), (5, 4), (15, 14), (16, 16), (40, 16)])
def test_no_tile_gets_both_labels(instances: int, used: int) -> None:
    """k = 8 of a small bag: at most half of it on each side; one instance teaches nothing."""
    head = CLAM(6, 2, dropout=0.0, instance_loss="ce")
    seen: list[torch.Tensor] = []
    head.instance_classifiers[1].register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    bag = torch.randn(1, instances, 6)
    loss = head.loss(head(bag), torch.tensor([1]))["loss_instance"]
    assert len(seen[0]) == used == len(seen[0].unique(dim=0))
    assert loss.isfinite() and (loss > 0) == (used > 0)


def test_targets_follow_attention() -> None:
    """The loss is that of the two highest as 1 and the two lowest as 0."""
    head, bag = CLAM(6, 2, dropout=0.0, k=2, instance_loss="ce", bag_weight=0.0), torch.randn(9, 6)
    output = head(bag[None])
    order = np.argsort(-output.attention[0].detach().numpy())
    h = head.embed(bag)[torch.from_numpy(order[[0, 1, -2, -1]].copy())]
    expected = F.cross_entropy(head.instance_classifiers[0](h), torch.tensor([1, 1, 0, 0]))
    torch.testing.assert_close(head.loss(output, torch.tensor([0]))["loss_instance"], expected)


@pytest.mark.parametrize("multi_branch", [False, True])
def test_loss_of_a_batch_is_the_mean_of_its_bags(multi_branch: bool) -> None:
    head = CLAM(6, 3, multi_branch=multi_branch, k=3, subtyping=True).double().eval()
    bags, labels = [torch.randn(k, 6, dtype=torch.float64) for k in (9, 1, 4)], torch.tensor([2, 0, 1])
    batch = head.loss(head(*pad_bags(bags)), labels)
    single = [head.loss(head(bag[None]), labels[i : i + 1]) for i, bag in enumerate(bags)]
    for name, value in batch.items():
        torch.testing.assert_close(value, torch.stack([losses[name] for losses in single]).mean())


def test_faults_are_named() -> None:
    faults: list[tuple[dict, str]] = [(dict(num_classes=1), "num_classes=1"), (dict(instance_loss="mse"), "mse")]
    for options, said in [*faults, (dict(k=0), "k=0")]:
        with pytest.raises(ConfigError, match=said):
            CLAM(**dict(in_channels=6, num_classes=2) | options)
    head = CLAM(6, 2)
    with pytest.raises(ConfigError, match=r"labels \[2\].*0 to 1"):
        head.loss(head(torch.randn(1, 4, 6)), torch.tensor([2]))
