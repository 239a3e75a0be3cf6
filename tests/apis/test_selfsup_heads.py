"""Probe and fine-tuning: they learn what is there, by the published settings, and never look at the test labels."""

import numpy as np
import pytest
import torch
from torch import nn

from medkit.apis.selfsup_batches import FeatureBatches, ImageBatches
from medkit.apis.selfsup_heads import FINETUNE, HEADS, LINEAR, GradingHead, Training, fit
from medkit.data.graded import GradedSet, read_graded
from medkit.engine.encoding import Encoder
from medkit.errors import ConfigError
from tests.graded import write_graded

FAST = Training(lr=2e-2, weight_decay=0, epochs=30)


def toy(labels: np.ndarray | None = None, num: int = 200, num_classes: int = 4) -> tuple[GradedSet, np.ndarray]:
    """Half train, a quarter each val and test; a feature that grows with the grade among noise."""
    rng = np.random.default_rng(0)
    grades = rng.integers(0, num_classes, num)
    features = rng.normal(size=(num, 8)).astype(np.float32)
    features[:, 2] += 3 * grades
    splits = np.array(["train"] * (num // 2) + ["val"] * (num // 4) + ["test"] * (num // 4))
    files, patients = tuple(map(str, range(num))), np.arange(num).astype(str)
    shown = grades if labels is None else labels
    return GradedSet(files, shown, patients, splits, tuple(map(str, range(num_classes))), True), features


class Tiny(nn.Module):
    """(B, 3, H, W) to ((B, 4, H', W'),) with a batch norm, as mmpretrain's ResNet answers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.norm(self.conv(images)),)


def test_published_settings() -> None:
    assert (LINEAR.lr, LINEAR.weight_decay, LINEAR.epochs, LINEAR.batch_size, LINEAR.clip) == (2e-3, 0, 25, 16, 1)
    assert (FINETUNE.lr, FINETUNE.weight_decay, FINETUNE.epochs, FINETUNE.batch_size) == (2e-5, 1e-5, 25, 16)


@pytest.mark.parametrize("kind", HEADS)
def test_a_probe_learns_and_is_repeatable(kind: str) -> None:
    graded, features = toy()
    head = GradingHead(kind, 4, True)
    batches = FeatureBatches(features, graded, 16)
    found = [fit(batches, head, FAST, seed) for seed in (0, 0, 1)]
    truth = graded.labels[graded.rows("test")]
    for one in found:
        grades, scores = head.read(one["best"].outputs)
        assert head.kappa(truth, grades) > 0.6
        assert scores.shape == ((50,) if kind == "regression" else (50, 4))
        assert one["best"].val_kappa >= one["final"].val_kappa and one["final"].epoch == 30
    np.testing.assert_array_equal(found[0]["best"].outputs, found[1]["best"].outputs)
    assert not np.array_equal(found[0]["best"].outputs, found[2]["best"].outputs)


def test_labels_of_the_test_split_change_nothing() -> None:
    graded, features = toy()
    other = graded.labels.copy()
    other[graded.rows("test")] = 0
    changed, _ = toy(other)
    head = GradingHead("regression", 4, True)
    one, two = (fit(FeatureBatches(features, g, 16), head, FAST)["best"] for g in (graded, changed))
    np.testing.assert_array_equal(one.outputs, two.outputs)
    assert (one.epoch, one.val_kappa) == (two.epoch, two.val_kappa)


def test_the_rate_falls_once_per_epoch_and_the_head_starts_small(monkeypatch) -> None:
    rates, norms = [], []
    step = torch.optim.Adam.step

    def spied(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        norms.append(sum(p.grad.norm() ** 2 for g in self.param_groups for p in g["params"]).sqrt().item())
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spied)
    graded, features = toy()
    fit(FeatureBatches(100 * features, graded, 50), GradingHead("regression", 4, True), Training(1.0, 0.0, epochs=4))
    wanted = [0.5 * (1 + np.cos(np.pi * epoch / 4)) for epoch in range(4)]
    assert rates == pytest.approx(np.repeat(wanted, 2).tolist())
    assert max(norms) == pytest.approx(1, abs=1e-4), "gradients are clipped"
    torch.manual_seed(0)
    fc = FeatureBatches(np.zeros((200, 4000), np.float32), graded, 16).model(4)
    assert fc.weight.std().item() == pytest.approx(0.01, rel=0.05) and not fc.bias.any()


def test_standardised_features_do_not_depend_on_their_scale() -> None:
    graded, features = toy()
    scales = np.float32(2.0 ** np.arange(-4, 4))
    one, two = (FeatureBatches(x, graded, 16, standardise=True).features for x in (features, features * scales + 3))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    train = one[torch.from_numpy(graded.rows("train"))]
    torch.testing.assert_close(train.mean(0), torch.zeros(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("frozen", [True, False])
def test_on_images_frozen_or_not(frozen: bool, tmp_path) -> None:
    graded = read_graded(write_graded(tmp_path, size=32, saliency=False))
    torch.manual_seed(0)
    encoder = Encoder(Tiny(), (100, 50, 30), (60, 50, 40))
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    batches = ImageBatches(encoder, graded, 32, 4, frozen=frozen, num_workers=0)
    model = batches.model(1)
    names = {id(p): name for name, p in model.named_parameters()}
    trained = {names[id(p)] for p in batches.trained(model)}
    assert trained == ({"fc.weight", "fc.bias"} if frozen else set(names.values()))
    head = GradingHead("regression", 5, True)
    found = [fit(batches, head, Training(1e-3, 0.0, epochs=2, amp=amp), seed=3) for amp in (False, False, True)]
    np.testing.assert_array_equal(found[0]["final"].outputs, found[1]["final"].outputs)
    np.testing.assert_allclose(found[0]["final"].outputs, found[2]["final"].outputs, atol=0.05)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_a_head_that_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigError, match="use --head classification"):
        GradingHead("regression", 3, ordinal=False)
    with pytest.raises(ConfigError, match="'svm'; expected one of"):
        GradingHead("svm", 3, ordinal=True)
