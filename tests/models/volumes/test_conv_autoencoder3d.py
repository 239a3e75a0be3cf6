"""The 3-D autoencoder: the published sizes, the loss against golden values, what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from medkit.errors import ConfigError, DatasetError, TrainingError
from medkit.models.volumes import ConvAutoencoder3D, ReconstructionLoss
from medkit.models.volumes.resample import double_nearest, double_trilinear, halve

GOLDEN = Path(__file__).parents[2] / "golden" / "metric_embedding_loss.npz"
SIZE = (16, 32, 16)
REST = ((1, 2), (0, 2), (0, 1))  # the other axes
METRIC = dict(channels=(4, 8, 8, 8), num_classes=2, alpha=1.0)


def build(**options) -> ConvAutoencoder3D:
    torch.manual_seed(0)
    return ConvAutoencoder3D(**options)


def batch(labels=(0, 1, -1, 0, 1), subjects="abcde", size=SIZE) -> tuple[Tensor, list[DataSample]]:
    """Volumes (B, 1, D, H, W) in [0, 1]; with two classes the last two are anchors."""
    volumes = torch.rand(len(labels), 1, *size, generator=torch.Generator().manual_seed(1))
    names = [dict(subject=subject, img_path=f"{subject}.nii.gz") for subject in subjects[: len(labels)]]
    return volumes, [DataSample(metainfo=m).set_gt_label(y) for m, y in zip(names, labels, strict=True)]


def gradients(model: ConvAutoencoder3D, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "channels, parameters", [((16, 32, 64, 128), 294_433), ((8, 16, 32, 64), 74_641), ((32, 64, 128, 256), 1_169_473)]
)
def test_parameters_of_each_half(channels, parameters: int) -> None:
    model = build(channels=channels)
    for half in (model.encoder, model.decoder):
        assert sum(p.numel() for p in half.parameters()) == parameters


def test_published_sizes() -> None:
    model = build(channels=(2, 2, 2, 2))
    with torch.no_grad():
        code = model.encode(torch.rand(1, 1, 80, 96, 80))
        assert code.shape == (1, 150) and model.decode(code, (80, 96, 80)).shape == (1, 1, 80, 96, 80)
    assert build(channels=(2,) * 5).grid((160, 192, 160)) == (5, 6, 5)


@pytest.mark.parametrize("code_channels, code_dim", [(1, None), (3, None), (1, 7)])
@pytest.mark.parametrize("upsample, output", [("trilinear", "linear"), ("nearest", "sigmoid")])
def test_modes(code_channels: int, code_dim: int | None, upsample: str, output: str) -> None:
    options = dict(code_channels=code_channels, code_dim=code_dim, upsample=upsample, output=output, convs_per_stage=2)
    model = build(channels=(2, 4, 4, 4), input_size=SIZE, **options)
    volumes, samples = batch()
    codes = model(volumes, mode="tensor")
    assert codes.shape == (5, code_dim or 2 * code_channels)
    found = model(volumes, samples, mode="predict")
    assert found[3].subject == "d" and not found[3].reconstruction.requires_grad
    torch.testing.assert_close(torch.stack([sample.code for sample in found]), codes.detach())
    decoded = model.decode(codes)[:, 0].detach()
    torch.testing.assert_close(torch.stack([sample.reconstruction for sample in found]), decoded)
    assert output == "linear" or (decoded.min() > 0 and decoded.max() < 1)


def test_code_keeps_the_order_of_the_axes() -> None:
    """With equal weights, entry (d, h, w) of the code answers to voxels about block (d, h, w) of the volume."""
    model = build(channels=(4, 4))
    for parameter in model.encoder.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    volumes = torch.ones(1, 1, 24, 24, 32, requires_grad=True)  # code map 6 x 6 x 8
    model.encode(volumes)[0, 2 * 48 + 3 * 8 + 4].backward()
    seen = volumes.grad[0, 0]
    centre = [(seen.sum(dim=rest) * torch.arange(len(seen.sum(dim=rest)))).sum() / seen.sum() for rest in REST]
    assert torch.stack(centre).tolist() == pytest.approx([9.5, 13.5, 17.5])


def test_halving_and_doubling_equal_torch() -> None:
    x = torch.rand(2, 3, 4, 6, 8, dtype=torch.float64, requires_grad=True)
    functional = torch.nn.functional
    pairs = [(halve, lambda v: functional.avg_pool3d(v, 2))]
    for ours, mode in ((double_trilinear, "trilinear"), (double_nearest, "nearest")):
        pairs.append((ours, lambda v, mode=mode: functional.interpolate(v, scale_factor=2, mode=mode)))
    for ours, torchs in pairs:
        weight = torch.rand_like(torchs(x))
        found, wanted = (torch.autograd.grad((f(x) * weight).sum(), x)[0] for f in (ours, torchs))
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(ours(x), torchs(x))


def test_reconstruction_and_total_equal_golden_values() -> None:
    with np.load(GOLDEN) as file:
        golden = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    output, target = golden["recon/xhat"], golden["recon/x"]
    near = dict(rtol=1e-10, atol=1e-12)
    mse, metric = ReconstructionLoss()(output, target), golden["c2/squared/loss_mean"]
    torch.testing.assert_close(mse, golden["recon/mse"], **near)
    torch.testing.assert_close(mse + metric, golden["total/alpha1"], **near)
    roots = ReconstructionLoss(root=True)(output, target)
    torch.testing.assert_close(roots, golden["recon/rmse_mean_of_volumes"], **near)


def test_masked_and_weighted_reconstruction() -> None:
    target, output = torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    target[..., 0, 0] = 1  # two of eight voxels; off by 1
    output[..., 1, 1] = 2  # two voxels of the background; off by 2
    assert ReconstructionLoss()(output, target) == pytest.approx(10 / 8)
    assert ReconstructionLoss("masked")(output, target) == 1
    assert ReconstructionLoss("weighted", background=0.5)(output, target) == pytest.approx(6 / 5)
    with pytest.raises(ConfigError, match="type='mask'"):
        ReconstructionLoss("mask")


def test_loss_is_the_sum_of_its_parts() -> None:
    model, (volumes, samples) = build(**METRIC, entropy_weight=0.5), batch()
    losses = model(volumes, samples, mode="loss")
    codes = model.encode(volumes)
    anchors, labels = codes[3:, None], torch.tensor([0, 1, -1])
    wanted = dict(
        loss_recon=(model.decode(codes[:3], SIZE) - volumes[:3]).square().mean(),  # anchors are not reconstructed
        loss_metric=model.metric(codes[:3], labels, anchors),
        loss_entropy=0.5 * model.metric.entropy(codes[2:3], anchors),  # unlabelled ones alone
    )
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value)
    model.alpha = 0.25  # as a warm-up sets it
    torch.testing.assert_close(model(volumes, samples, mode="loss")["loss_metric"], wanted["loss_metric"] / 4)
    gradient = torch.autograd.grad(losses["loss_metric"], model.encoder.code.weight)[0]
    assert gradient.any()


def test_gradient_passes_through_the_anchors() -> None:
    model, (volumes, samples) = build(**METRIC), batch()
    volumes.requires_grad_()
    model(volumes, samples, mode="loss")["loss_metric"].backward()
    assert all(volumes.grad[index].any() for index in (0, 1, 3, 4)) and not volumes.grad[2].any()


def test_alpha_0_is_the_plain_autoencoder() -> None:
    volumes, samples = batch()
    plain, zero = build(channels=(4, 8, 8, 8)), build(**METRIC)
    zero.alpha = 0.0
    first, second = plain(volumes[:3], mode="loss"), zero(volumes, samples, mode="loss")
    assert set(first) == {"loss_recon"}
    torch.testing.assert_close(first["loss_recon"], second["loss_recon"])
    wanted = gradients(plain, first)
    for name, gradient in gradients(zero, second).items():
        torch.testing.assert_close(gradient, wanted[name])
    assert set(build(**(METRIC | dict(alpha=0.0)))(volumes, samples, mode="loss")) == {"loss_recon"}


@pytest.mark.parametrize("options", [{}, dict(convs_per_stage=2), dict(upsample="nearest")])
def test_checkpointing_gives_equal_gradients(options: dict) -> None:
    """Deep enough for several slabs, the last one thinner; in float64, where rounding hides nothing."""
    volumes, samples = batch((0, 1, 1, 0, 1), size=(56, 8, 8))
    found = []
    for checkpointing in (False, True):
        model = build(channels=(3, 2, 2), num_classes=2, alpha=1.0, checkpointing=checkpointing, **options).double()
        losses = model(volumes.double(), samples, mode="loss")
        found.append((losses, gradients(model, losses)))
    assert set(found[0][1]) == {name for name, _ in model.named_parameters()}
    for plain, again in zip(*found, strict=True):
        for name, value in plain.items():
            torch.testing.assert_close(again[name].double(), value.double(), rtol=1e-7, atol=1e-12)


def test_checkpointing_under_bf16() -> None:
    volumes, samples = batch()
    found = []
    for checkpointing in (False, True):
        model = build(**METRIC, checkpointing=checkpointing)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = model(volumes, samples, mode="loss")
        found.append(gradients(model, losses))
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0.1, atol=0.02 * gradient.abs().max().item())


def test_codes_and_losses_are_float32_under_bf16() -> None:
    model, (volumes, samples) = build(**METRIC), batch()
    plain = model(volumes, samples, mode="loss")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes, losses = model.encode(volumes), model(volumes, samples, mode="loss")
    assert codes.dtype == torch.float32 and (codes != codes.bfloat16().float()).any()
    for name in ("loss_recon", "loss_metric"):
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], plain[name], rtol=0.02, atol=0.01)


def test_metric_learning_separates_what_reconstruction_does_not() -> None:
    """Two classes that differ in a faint corner: after a few steps unseen codes are nearest to their own class."""
    generator = torch.Generator().manual_seed(0)

    def draw(labels: list[int]) -> Tensor:
        volumes = torch.rand(len(labels), 1, 8, 8, 8, generator=generator)
        volumes[:, 0, :4, :4, :4] *= 1 - torch.tensor(labels)[:, None, None, None]
        return volumes

    model = build(channels=(8, 8), num_classes=2, alpha=1.0)
    model.init_weights()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    labels = [0, 1] * 5
    samples = [DataSample().set_gt_label(y) for y in labels]
    for _ in range(30):
        losses = model(draw(labels), samples, mode="loss")
        optimizer.zero_grad()
        (losses["loss_recon"] + losses["loss_metric"]).backward()
        optimizer.step()
    unseen = [DataSample().set_gt_label(y) for y in [0, 1] * 21]
    with torch.no_grad():
        assert model(draw([0, 1] * 21), unseen, mode="loss")["metric_nearest"] > 0.9


def test_sides_that_cannot_be_halved() -> None:
    with pytest.raises(ConfigError, match=r"80 x 90 x 80 .* 4 stages .*multiples of 16; .*target_size=.\(80, 96, 80"):
        build(channels=(2, 2, 2, 2)).encode(torch.rand(1, 1, 80, 90, 80))
    with pytest.raises(ConfigError, match=r"8 x 32 x 16.*\(16, 32, 16\)"):
        build(channels=(2, 2, 2, 2), input_size=(8, 32, 16))
    with pytest.raises(ConfigError, match="code_dim ties the model"):
        build(channels=(2, 2), code_dim=5, input_size=SIZE).encode(torch.rand(1, 1, 32, 32, 32))
    with pytest.raises(ConfigError, match="size"):
        build(channels=(2, 2)).decode(torch.rand(1, 8))


@pytest.mark.parametrize(
    "labels, subjects, error, message",
    [
        ((0, 1, 0, 1, 0), "abcde", ConfigError, r"labelled \[0, 1\].*ends with \[1, 0\].*medkit.AnchorBatchSampler"),
        ((0, 1), "ab", ConfigError, "2 anchors at the end .* has 2 volumes"),
        ((0, 2, 0, 1), "abcd", DatasetError, "b.nii.gz has label 2, .* 2 classes"),
        ((0, 1, 0, 1), "abca", DatasetError, "subject a is in the batch and among its anchors"),
    ],
)
def test_anchors_are_checked(labels, subjects: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build(**METRIC)(*batch(labels, subjects), mode="loss")


def test_several_anchors_in_class_order() -> None:
    model = build(**METRIC, anchors_per_class=2)
    volumes, samples = batch((0, 1, 0, 0, 1, 1), "abcdef")
    codes = model.encode(volumes)
    wanted = model.metric(codes[:2], torch.tensor([0, 1]), torch.stack([codes[2:4], codes[4:]]))
    torch.testing.assert_close(model(volumes, samples, mode="loss")["loss_metric"], wanted)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(alpha=1.0), "num_classes=0"),
        (dict(alpha=-1.0), "alpha=-1"),
        (dict(upsample="cubic"), "upsample='cubic'"),
        (dict(code_dim=3), "code_dim=3 needs input_size"),
        (dict(alpha=1.0, num_classes=2, power=3), "power=3"),
    ],
)
def test_arguments_that_contradict(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(channels=(2, 2), **options)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda v: v[1].view(-1)[:3].fill_(float("nan")), "b.nii.gz has 3 voxels that are NaN or infinite; repair"),
        (lambda v: v[2].fill_(0.25), "c.nii.gz is 0.25 everywhere; look at it"),
        (lambda v: v[0].mul_(100), r"a.nii.gz has intensities from .* expected \[0, 1\]; scale"),
    ],
)
def test_bad_volumes_are_named(spoil, message: str) -> None:
    volumes, samples = batch()
    spoil(volumes)
    with pytest.raises(DatasetError, match=message):
        build(channels=(2, 2)).data_preprocessor(dict(inputs=list(volumes), data_samples=samples), True)


def test_unequal_volumes_of_a_batch() -> None:
    preprocessor = build(channels=(2, 2)).data_preprocessor
    with pytest.raises(DatasetError, match=r"differ in shape: \[\(1, 4, 4, 4\), \(1, 4, 4, 8\)\]"):
        preprocessor(dict(inputs=[torch.rand(1, 4, 4, 4), torch.rand(1, 4, 4, 8)]))
    with pytest.raises(DatasetError, match=r"expected .* one time point of a 4-D file"):
        preprocessor(dict(inputs=[torch.rand(4, 4, 4, 4)]))
    assert preprocessor(dict(inputs=[torch.rand(1, 4, 4, 4)] * 2))["inputs"].shape == (2, 1, 4, 4, 4)


def test_a_loss_that_is_nan_stops_the_training() -> None:
    model, (volumes, samples) = build(**METRIC), batch()
    torch.nn.init.constant_(model.encoder.code.bias, float("nan"))
    with pytest.raises(TrainingError, match=r"loss_metric is nan.*lower lr"):
        model.parse_losses(model(volumes, samples, mode="loss"))
