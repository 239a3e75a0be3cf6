"""ALAD's losses as the release has them, its score by averaged weights, its networks at 32 pixels."""

import pytest
import torch
from torch.nn import functional as F

from medkit.errors import ConfigError
from medkit.models.anomaly import ALAD
from tests.models.anomaly.gans import batch, build, images, moved


def bce(logits: torch.Tensor, real: float) -> torch.Tensor:
    return -(torch.sigmoid(logits) if real else torch.sigmoid(-logits)).log().mean()


def test_released_sizes_at_32_pixels() -> None:
    with torch.device("meta"):
        model = ALAD(img_size=32, spectral=False, pairs="height")
    shapes = {name: tuple(param.shape) for name, param in model.named_parameters() if param.dim() > 1}
    convs = [shapes[f"encoder.0.{number}.weight"] for number in (0, 3, 6)]
    assert convs == [(128, 3, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)]
    assert shapes["encoder.1.weight"] == shapes["generator.1.weight"] == (100, 512, 4, 4)
    assert shapes["critic_xz.joint.0.weight"] == (1024, 512 * 16 + 512)
    assert shapes["critic_xx.classifier.weight"] == (1, 128 * 16 * 8)  # two images of 32 x 32, one above the other
    assert shapes["critic_zz.layers.0.weight"] == (64, 200)


def test_losses_are_the_released_ones() -> None:
    model, _ = build("alad")
    model.eval()  # no dropout: the same numbers each time
    x, z = images(), torch.randn(4, 6)
    code, fake = model.encoder(x), model.generator(z)
    rebuilt, code_again = model.generator(code), model.encoder(fake)
    pairs = {
        "xz": (model.critic_xz(x, code), model.critic_xz(fake, z)),
        "xx": (model.critic_xx(x, x)[0], model.critic_xx(x, rebuilt)[0]),
        "zz": (model.critic_zz(z, z), model.critic_zz(z, code_again)),
    }
    of_critics, of_generator = model.critic_losses(x, z), model.generator_losses(x, z)
    for name, (real, other) in pairs.items():
        torch.testing.assert_close(of_critics[f"d_loss_{name}"], bce(real, 1) + bce(other, 0))
        torch.testing.assert_close(of_generator[f"g_loss_{name}"], bce(real, 0) + bce(other, 1))
    for losses in (of_critics, of_generator):
        total, *terms = losses.values()
        torch.testing.assert_close(total, sum(terms))


def test_one_sum_gives_encoder_and_generator_their_own_gradients() -> None:
    model, _ = build("alad")
    model.eval()
    x, z = images(), torch.randn(4, 6)
    losses = model.generator_losses(x, z)
    shared = losses["g_loss_xx"] + losses["g_loss_zz"]
    for network, own in (
        (model.encoder, bce(model.critic_xz(x, model.encoder(x)), 0)),
        (model.generator, bce(model.critic_xz(model.generator(z), z), 1)),
    ):
        params = list(network.parameters())
        ours = torch.autograd.grad(losses["g_loss"], params, retain_graph=True)
        theirs = torch.autograd.grad(shared + own, params, retain_graph=True)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_score_is_the_feature_distance_by_averaged_weights() -> None:
    model, wrapper = build("alad", average=0.25)
    model.train_step(batch(), wrapper)
    first = model.encoder[1].parametrizations.weight.original.detach().clone()
    model.train_step(batch(), wrapper)
    now = model.encoder[1].parametrizations.weight.original
    averaged = model.average_encoder.module[1].parametrizations.weight.original
    torch.testing.assert_close(averaged, 0.75 * first + 0.25 * now.detach())
    model.eval()
    x = images()
    maps, scores = model(x)
    rebuilt = model.average_generator(model.average_encoder(x))
    features = [model.average_critic_xx(x, other)[1] for other in (x, rebuilt)]
    torch.testing.assert_close(scores, (features[0] - features[1]).abs().sum(dim=1))
    torch.testing.assert_close(maps, F.l1_loss(rebuilt, x, reduction="none").mean(dim=1) / 2)
    for name in ("encoder", "generator", "critic_xx"):
        assert all(key in model.state_dict() for key in (f"average_{name}.steps",))
        for param in getattr(model, name).parameters():
            param.data.fill_(9.0)
    assert torch.equal(model(x)[1], scores)  # the current weights have no part in it


def test_spectral_norm_bounds_critics_and_encoder() -> None:
    model, wrapper = build("alad")
    for _ in range(5):
        model.train_step(batch(), wrapper)
    weight = model.critic_xz.joint[0].weight
    assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.2)
    assert not hasattr(model.generator[1], "parametrizations")


def test_a_step_moves_all_networks() -> None:
    names = {"encoder", "generator", "critic_xz", "critic_xx", "critic_zz"}
    model, wrapper = build("alad")
    assert names <= moved(model, wrapper)


def test_bad_arguments_are_refused() -> None:
    for arguments in (dict(pairs="width"), dict(average=0.0)):
        with pytest.raises(ConfigError, match="expected 'channels' or 'height'"):
            ALAD(img_size=16, width=4, **arguments)
