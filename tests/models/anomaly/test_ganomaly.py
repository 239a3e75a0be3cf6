"""GANomaly equals the released code's numbers; a discriminator that has won starts anew."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medkit.errors import ConfigError
from medkit.models.anomaly import GANomaly
from tests.models.anomaly.gans import batch, build, moved


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, Tensor]:
    with np.load(golden_dir / "ganomaly_step.npz") as arrays:
        return {key: torch.from_numpy(np.array(arrays[key])) for key in arrays}


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-3, atol=1e-5)


@pytest.fixture
def model(golden: dict[str, Tensor]) -> GANomaly:
    """With the released weights: the layers come in the same order, under other names."""
    model = GANomaly(img_size=32, width=8, latent=12)
    for network, prefix in ((model.generator, "wG."), (model.discriminator, "wD.")):
        theirs = [value for name, value in golden.items() if name.startswith(prefix)]
        network.load_state_dict(dict(zip(network.state_dict(), theirs, strict=True)))
    return model.train()


def test_networks_equal_golden(golden: dict[str, Tensor], model: GANomaly) -> None:
    rebuilt, code, code_again = model.generator(golden["x"])
    close(rebuilt, golden["fake"])
    close(code, golden["latent_i"])
    close(code_again, golden["latent_o"])
    for images, name in ((golden["x"], "real"), (rebuilt, "fake")):
        logits, features = model.discriminator(images)
        close(torch.sigmoid(logits), golden[f"pred_{name}"])
        close(features, golden[f"feat_{name}"])


def test_losses_and_score_equal_golden(golden: dict[str, Tensor], model: GANomaly) -> None:
    outputs = model.generator(golden["x"])
    losses = model.generator_losses(golden["x"], *outputs)
    for name in ("adv", "con", "enc"):
        close(losses[f"g_loss_{name}"], golden[f"err_g_{name}"])
    close(losses["g_loss"], golden["err_g"])
    close(model.discriminator_losses(golden["x"], outputs[0].detach())["d_loss"], golden["err_d"])
    maps, scores = model.score(golden["x"])
    close(scores, golden["score"])
    close(maps, (golden["x"] - golden["fake"]).abs().mean(dim=1) / 2)


def test_both_networks_move_by_the_losses_before_either_moved() -> None:
    model, wrapper = build("ganomaly")
    twin, _ = build("ganomaly")
    images = twin.training_images(batch())["healthy"]
    rebuilt = twin.generator(images)[0].detach()
    expected = twin.discriminator_losses(images, rebuilt)["d_loss"]
    assert moved(model, wrapper) == {"generator", "discriminator"}
    model, wrapper = build("ganomaly")
    close(model.train_step(batch(), wrapper)["d_loss"], expected.detach())


def test_published_first_weights() -> None:
    model = GANomaly(img_size=32)
    weight = model.generator.encoder1[1].weight
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert model.generator.encoder1[1].weight.shape == (100, 256, 4, 4)
    norms = torch.cat([m.weight for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)])
    norms = norms.detach()
    assert float(norms.mean()) == pytest.approx(1, abs=0.01) and float(norms.std()) == pytest.approx(0.02, rel=0.2)


def test_a_discriminator_that_has_won_starts_anew() -> None:
    model, wrapper = build("ganomaly")
    before = model.discriminator.classifier.weight.detach().clone()
    model.train_step(batch(), wrapper)
    assert int(model.restarts) == 0
    model.restart_below = 10.0
    model.train_step(batch(), wrapper)
    assert int(model.restarts) == 1
    assert F.cosine_similarity(before.flatten(), model.discriminator.classifier.weight.flatten(), dim=0) < 0.8


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"weights=\['rec'\] are unknown, known are \['adv', 'con', 'enc'\]"):
        GANomaly(weights=dict(rec=1.0))
