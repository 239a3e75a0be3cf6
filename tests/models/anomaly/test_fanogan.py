"""f-AnoGAN's two stages in one training, its gradient penalty in float32, and its score."""

import pytest
import torch

from medkit.errors import ConfigError
from medkit.models.anomaly import FAnoGAN
from medkit.models.anomaly.healthygan_losses import gradient_penalty
from tests.models.anomaly.gans import batch, build, config, images, moved


def test_stages_and_their_rhythm() -> None:
    model, wrapper = build("fanogan")  # six batches of the first stage
    assert model.stage == 1
    for number in (1, 2, 3, 4, 5, 6):
        assert moved(model, wrapper) == ({"critic", "generator"} if number == 5 else {"critic"})
    assert model.stage == 2
    fixed = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith(("enc", "steps"))}
    assert moved(model, wrapper) == {"encoder"} and int(model.steps) == 7
    assert all(torch.equal(model.state_dict()[name], value) for name, value in fixed.items())  # running means as well


def test_stage_comes_back_with_the_checkpoint() -> None:
    model, wrapper = build("fanogan")
    for _ in range(6):
        model.train_step(batch(), wrapper)
    again, wrapper_again = build("fanogan", seed=1)
    again.load_state_dict(model.state_dict())
    assert again.stage == 2 and moved(again, wrapper_again) == {"encoder"}


def test_config_splits_the_iterations() -> None:
    assert config("fanogan", max_iters=2, gan_iters="${max_iters // 2}").model.gan_iters == 1


def test_score_is_the_encoders_loss() -> None:
    model, _ = build("fanogan")
    model.eval()
    maps, scores = model(images())
    rebuilt = model.rebuild(images())
    features = [model.critic(x)[1] for x in (images(), rebuilt)]
    assert features[0].shape == (4, 32 * 16)  # width 4, 8 times as many at 4 x 4
    expected = (images() - rebuilt).square().mean(dim=(1, 2, 3)) + (features[0] - features[1]).square().mean(dim=1)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(maps, (images() - rebuilt).abs().mean(dim=1) / 2)
    torch.testing.assert_close(model.encoder_losses(images())["e_loss"], scores.mean())
    model.kappa = 0.0
    torch.testing.assert_close(model(images())[1], (images() - rebuilt).square().mean(dim=(1, 2, 3)))


def test_published_sizes_at_64_pixels() -> None:
    with torch.device("meta"):
        model = FAnoGAN()
    assert model.generator.first.weight.shape == (8192, 128)
    up = [(block.conv1.in_channels, block.conv1.out_channels) for block in model.generator.blocks]
    down = [(block.conv2.in_channels, block.conv2.out_channels) for block in model.critic.blocks]
    assert up == [(512, 512), (512, 256), (256, 128), (128, 64)]
    assert down == [(64, 128), (128, 256), (256, 512), (512, 512)]
    assert model.critic.last.in_features == 8192 and model.encoder.last.out_features == 128


def test_layer_norm_of_the_critic_is_over_an_image() -> None:
    model, _ = build("fanogan")
    norm = model.critic.blocks[0].norm1
    x = torch.rand(2, 4, 8, 8) * 5 + 3
    expected = torch.nn.functional.layer_norm(x, x.shape[1:])
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)
    assert norm.weight.shape == (4,)


def test_gradient_penalty_is_float32_under_autocast() -> None:
    model, _ = build("fanogan")
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = model.critic_losses(images())
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        fake = model.generator(torch.randn(4, 6))
    alpha = torch.rand(4, 1, 1, 1)
    plain = gradient_penalty(lambda x: model.critic(x)[0], images(), fake, alpha)
    assert torch.equal(under["d_loss_gp"], plain) and under["d_loss"].dtype == torch.float32
    total = under["d_loss_real"] + under["d_loss_fake"] + 10 * under["d_loss_gp"]
    torch.testing.assert_close(under["d_loss"], total)


def test_codes_of_the_encoder_are_bounded() -> None:
    model, _ = build("fanogan")
    seen: list[torch.Tensor] = []
    model.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.nn.init.constant_(model.encoder.last.bias, 50.0)
    model.rebuild(images())
    assert seen[0].shape == (4, 6) and float(seen[0].detach().max()) == 1.0


@pytest.mark.parametrize("arguments", [dict(gan_iters=-1), dict(critic_steps=0)], ids=str)
def test_bad_arguments_are_refused(arguments: dict) -> None:
    name, value = next(iter(arguments.items()))
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        FAnoGAN(img_size=16, width=4, **arguments)
