"""HealthyGAN equals the released code's numbers, and keeps what makes it safe to evaluate, train and import."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import MMSeparateDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner.checkpoint import load_state_dict
from mmpretrain.structures import DataSample
from torch import Tensor

from medkit.engine import Bf16OptimWrapper
from medkit.engine.late_decay import late_decay
from medkit.errors import ConfigError, DatasetError, TrainingError, WeightsError
from medkit.models.anomaly import HealthyGAN
from medkit.models.anomaly.healthygan_losses import gradient_penalty, mask_terms, reconstruction
from medkit.models.anomaly.healthygan_nets import HealthyDiscriminator, HealthyGenerator
from medkit.models.anomaly.healthygan_weights import load_official, official_state

SMALL = dict(generator=dict(width=8, num_blocks=2), discriminator=dict(width=8, num_layers=3))


def golden(folder: Path, name: str) -> dict[str, Tensor]:
    with np.load(folder / f"healthygan_{name}.npz") as arrays:
        return {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}


def part(data: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in data.items() if name.startswith(prefix)}


def close(ours: Tensor, theirs: Tensor, rtol: float = 1e-3, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=rtol, atol=atol)


def model_of(data: dict[str, Tensor]) -> HealthyGAN:
    model = HealthyGAN(**SMALL)
    model.generator.load_state_dict(official_state(part(data, "wG.")))
    model.discriminator.load_state_dict(official_state(part(data, "wD.")))
    return model


def small() -> HealthyGAN:
    torch.manual_seed(0)
    return HealthyGAN(**SMALL)


def wrappers(model: HealthyGAN, kind: type = OptimWrapper, lr: float = 1e-3) -> OptimWrapperDict:
    adam = {name: torch.optim.Adam(getattr(model, name).parameters(), lr) for name in ("generator", "discriminator")}
    return OptimWrapperDict(**{name: kind(optimizer) for name, optimizer in adam.items()})


def batch(size: int = 32, number: int = 4) -> dict:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, number, 3, size, size), generator=generator, dtype=torch.uint8)
    return dict(inputs=dict(mixed=images[0], healthy=images[1]))


@pytest.mark.parametrize("mode", [True, False])
def test_generator_equals_golden_in_both_modes(golden_dir: Path, mode: bool) -> None:
    data = golden(golden_dir, "generator_forward")
    generator = HealthyGenerator(width=8, num_blocks=2).train(mode)
    generator.load_state_dict(official_state(part(data, "w0.")))
    image, mask = generator(data["x"])
    close(image, data["image_logits"], atol=1e-4)
    close(mask, data["mask_logit"], atol=1e-4)
    assert not torch.allclose(mask, data["mask_logit_evalmode"], atol=0.01)  # what eval() made of the release


def test_discriminator_equals_golden(golden_dir: Path) -> None:
    data = golden(golden_dir, "discriminator_forward")
    discriminator = HealthyDiscriminator(width=8, num_layers=3)
    discriminator.load_state_dict(part(data, "w."))
    close(discriminator.main(data["x"]), data["features"], rtol=1e-4)
    close(discriminator(data["x"]), data["patch_logits"], rtol=1e-4)


def test_sizes_of_the_published_networks() -> None:
    with torch.device("meta"):
        networks = HealthyGenerator(), HealthyDiscriminator()
    millions = [sum(p.numel() for p in network.parameters()) / 1e6 for network in networks]
    assert millions == pytest.approx([8.418, 44.72], rel=1e-4)


def test_discriminator_losses_and_gradients_equal_golden(golden_dir: Path) -> None:
    data = golden(golden_dir, "losses")
    model = model_of(data)
    losses = model.discriminator_losses(data["x_mixed"], data["x_healthy"], data["alpha"])
    for name in ("d_loss_real", "d_loss_fake", "d_loss_gp", "d_loss"):
        close(losses[name], data[name])
    losses["d_loss"].backward()
    parameters = dict(model.discriminator.named_parameters())
    for name, gradient in part(data, "gradD.").items():
        close(parameters[name].grad, gradient)
    assert all(p.grad is None for p in model.generator.parameters())


def test_generator_losses_and_gradients_equal_golden(golden_dir: Path) -> None:
    data = golden(golden_dir, "losses")
    model = model_of(data)
    losses = model.generator_losses(data["x_mixed"], data["x_healthy"])
    names = dict(adv="fake", adv_healthy="fake_id", rec="rec", identity="id", focus="mask")
    for ours, theirs in names.items():
        close(losses[f"g_loss_{ours}"], data[f"g_loss_{theirs}"])
    close(losses["g_loss"], data["g_loss"])
    losses["g_loss"].backward()
    parameters = dict(model.generator.named_parameters())
    for name, gradient in part(data, "gradG.").items():
        close(parameters[name].grad, gradient)


def test_parts_of_the_losses_equal_golden(golden_dir: Path) -> None:
    data = golden(golden_dir, "losses")
    for name in ("mixed", "healthy"):
        size, binary = mask_terms(data[f"mask_{name}"])
        close(size, data[f"mask_{name}_small"])
        close(binary, data[f"mask_{name}_zero_one"])
    model = model_of(data)
    translated, mask = model.translate(data["x_mixed"])
    close(translated, data["fake_composited"], atol=1e-4)
    close(mask, data["mask_mixed"], atol=1e-4)
    penalty = gradient_penalty(model.discriminator, data["x_healthy"], data["fake_composited"], data["alpha"])
    close(penalty, data["d_loss_gp"])


def test_lr_of_the_release_and_as_meant(golden_dir: Path) -> None:
    data = golden(golden_dir, "lr")
    for done, lr in zip(data["iteration"].tolist(), data["lr_after"].tolist(), strict=True):
        assert 1e-4 * late_decay(done, 400_000, 100_000, linear=False) == pytest.approx(lr, abs=1e-12)
    meant = [late_decay(done, 400_000, 100_000, linear=True) for done in (0, 300_000, 350_000, 400_000)]
    assert meant == [1, 1, 0.5, 0]


def test_mask_terms_at_their_ends() -> None:
    for value, size, binary in ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.5, 0.25, 100 - 1 / 0.51)):
        found = mask_terms(torch.full((2, 1, 4, 4), value))
        assert [float(term) for term in found] == pytest.approx([size, binary], abs=1e-4)
    images, raw = torch.rand(2, 2, 3, 4, 4)
    mask = torch.rand(2, 1, 4, 4)
    swapped = (images - (images * mask + raw * (1 - mask))).abs().mean()  # as the release writes it
    close(reconstruction(images, raw, mask), swapped)


def test_score_is_half_the_difference_in_both_modes() -> None:
    model = small()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    maps, scores = model.train()(images)
    healthy, _ = model.translate(images)
    close(maps, (images - healthy).abs().mean(dim=1) / 2)
    close(scores, (images - healthy).abs().mean(dim=(1, 2, 3)) / 2)
    again = model.eval()(images)
    assert torch.equal(again[0], maps) and torch.equal(again[1], scores)
    assert not [name for name in model.state_dict() if "running" in name]


def test_predictions_go_into_the_data_samples() -> None:
    model = small().eval()
    inputs = batch(32, 2)["inputs"]["mixed"]
    samples = model.test_step(dict(inputs=list(inputs), data_samples=[DataSample(), DataSample()]))
    maps, scores = model(model.data_preprocessor(dict(inputs=inputs))["inputs"])
    assert [sample.pred_score for sample in samples] == pytest.approx(scores.tolist())
    assert samples[1].anomaly_map.shape == (32, 32) and samples[1].anomaly_map.dtype == torch.float32
    close(samples[1].anomaly_map, maps[1].detach())


@pytest.mark.parametrize("kind", [OptimWrapper, Bf16OptimWrapper])
def test_two_discriminator_steps_to_one_of_the_generator(kind: type) -> None:
    model = small()
    optim_wrapper = wrappers(model, kind)
    for number in (1, 2, 3, 4):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        losses = model.train_step(batch(), optim_wrapper)
        moved = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert ("g_loss" in losses) == (number % 2 == 0)
        assert moved == ({"discriminator"} if number % 2 else {"discriminator", "generator"})
        assert all(value.dtype == torch.float32 for value in losses.values())
    assert set(model.mask_stats) == {"mixed", "healthy"} and all(0 <= v <= 1 for v in model.mask_stats["mixed"])
    assert all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())


@pytest.fixture
def one_process():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_wrapped_for_several_processes_it_is_the_same(one_process) -> None:
    """Steps, names in checkpoints, and loading; mmengine would save names that it does not load."""
    plain, model = small(), small()
    wrapped = MMSeparateDistributedDataParallel(model)
    assert is_model_wrapper(model.generator) and is_model_wrapper(model.discriminator)
    ours, theirs = wrappers(plain), wrappers(model)
    for _ in range(4):
        torch.manual_seed(3)
        plain.train_step(batch(), ours)
        torch.manual_seed(3)
        wrapped.train_step(batch(), theirs)
    state = model.state_dict()
    assert state.keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        close(state[name], value, rtol=1e-5)
    fresh = MMSeparateDistributedDataParallel(small())
    load_state_dict(fresh, state, strict=True)
    assert all(torch.equal(value, state[name]) for name, value in fresh.module.state_dict().items())


def test_gradient_penalty_is_float32_under_autocast() -> None:
    model = small()
    real, fake = torch.rand(2, 4, 3, 32, 32)
    alpha = torch.rand(4, 1, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = gradient_penalty(model.discriminator, real, fake, alpha)
    assert torch.equal(under, gradient_penalty(model.discriminator, real, fake, alpha))


def test_weights_are_the_ones_of_the_sum() -> None:
    images = [image.float() / 127.5 - 1 for image in batch()["inputs"].values()]
    plain = small().generator_losses(*images)
    torch.manual_seed(0)
    heavy = HealthyGAN(**SMALL, weights=dict(rec=3.0, size=5.0)).generator_losses(*images)
    focus = heavy["g_loss_focus"] - plain["g_loss_focus"]
    assert focus > 0
    close(heavy["g_loss"] - plain["g_loss"], 2 * plain["g_loss_rec"] + 0.1 * focus, atol=1e-4)


def test_nan_stops_before_a_weight_moves_and_names_the_term() -> None:
    model = small()
    with torch.no_grad():
        model.discriminator.conv1.weight.fill_(float("nan"))
    before = {name: value.clone() for name, value in model.state_dict().items() if "conv1" not in name}
    with pytest.raises(TrainingError, match=r"d_loss is nan, d_loss_real is nan.* in iteration \d+ .*checkpoint"):
        model.train_step(batch(), wrappers(model))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda b: b["inputs"].pop("mixed"), ConfigError, r"HealthyGAN trains on healthy and mixed .*no 'mixed'"),
        (lambda b: b.update(batch(4)), ConfigError, r"at least 8 x 8 pixels, got 4 x 4"),
        (lambda b: b.update(batch(34)), ConfigError, r"divisible by 4, got \(34, 34\); set .*img_size=32"),
        (lambda b: b["inputs"].update(healthy=torch.zeros(4, 1, 8, 8)), DatasetError, r"expected \(B, 3, H, W\) uint8"),
    ],
    ids=["no mixed", "too small", "not divisible", "grey float"],
)
def test_bad_batches_are_refused(change, error: type, said: str) -> None:
    model, data = small(), batch()
    change(data)
    with pytest.raises(error, match=said):
        model.train_step(data, wrappers(model))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"weights=\['mask'\] are unknown"):
        HealthyGAN(**SMALL, weights=dict(mask=1.0))
    model = small()
    with pytest.raises(ConfigError, match="two optimizers"):
        model.train_step(batch(), OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)))
    with pytest.raises(ConfigError, match="mode='loss'"):
        model(torch.zeros(1, 3, 32, 32), mode="loss")


def test_official_files_load_whole_or_not_at_all(golden_dir: Path, tmp_path: Path) -> None:
    data = golden(golden_dir, "losses")
    files = {"generator": tmp_path / "360000-G.ckpt", "discriminator": tmp_path / "360000-D.ckpt"}
    for name, prefix in (("generator", "wG."), ("discriminator", "wD.")):
        torch.save({f"module.{key}": value for key, value in part(data, prefix).items()}, files[name])
    model = HealthyGAN(**SMALL, official_weights={name: str(file) for name, file in files.items()})
    model.init_weights()
    close(model.translate(data["x_mixed"])[0], data["fake_composited"], atol=1e-4)

    with pytest.raises(WeightsError, match=r"does not fit the generator: \d+ of \d+ tensors differ .*width 64"):
        load_official(HealthyGAN(discriminator=dict(width=8, num_layers=3)), {"generator": files["generator"]})
    with pytest.raises(WeightsError, match="do not exist"):
        load_official(model, {"generator": tmp_path / "none.ckpt"})
    (tmp_path / "cut.ckpt").write_bytes(files["generator"].read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_official(model, {"generator": tmp_path / "cut.ckpt"})
    with pytest.raises(WeightsError, match="names 'critic'"):
        load_official(model, {"critic": files["generator"]})
