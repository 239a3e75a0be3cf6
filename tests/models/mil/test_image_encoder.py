"""Images of studies through a shared backbone: chunks and recomputation change memory and nothing else."""

import copy

import pytest
import torch
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.mil.image_encoder import encode_images, unchanged_buffers

LENGTHS = (3, 1, 5)


class Backbone(nn.Module):
    """Two convolutions with batch norm and dropout, averaged: (M, 3, H, W) to (M, 6); counts what it is shown."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)
        )
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return self.layers(images).relu().mean((2, 3))


def backbone(dropout: float = 0.0) -> Backbone:
    torch.manual_seed(0)
    net = Backbone(dropout).double()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):  # statistics that are not those of the data
            part.running_mean += torch.randn_like(part.running_mean)
            part.running_var += torch.rand_like(part.running_var)
    return net


def studies() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(len(LENGTHS), max(LENGTHS), 3, 8, 8, generator=generator, dtype=torch.float64)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    images[~mask] = float("nan")
    return images, mask


def step(net: Backbone, chunk_size: int | None = None, recompute: bool = False) -> tuple[Tensor, list[Tensor]]:
    """Features, and gradients of a loss that treats every feature differently."""
    images, mask = studies()
    torch.manual_seed(2)
    feats = encode_images(net, images, mask, chunk_size, net if recompute else None)
    weights = torch.randn(feats.shape, generator=torch.Generator().manual_seed(3), dtype=feats.dtype)
    gradients = torch.autograd.grad((feats.square() * weights).sum(), list(net.parameters()))
    return feats.detach(), list(gradients)


def freeze_bn(net: nn.Module) -> nn.Module:
    return net.apply(lambda part: part.eval() if isinstance(part, nn.BatchNorm2d) else part)


def same(left: tuple[Tensor, list[Tensor]], right: tuple[Tensor, list[Tensor]]) -> None:
    torch.testing.assert_close(left[0], right[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(left[1], right[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 4, 9, 100])
@pytest.mark.parametrize("mode", ["eval", "train with frozen batch norm"])
def test_chunks_change_nothing(mode: str, chunk_size: int, recompute: bool) -> None:
    net = freeze_bn(backbone().train(mode != "eval"))
    same(step(net), step(net, chunk_size, recompute))


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_recomputation_repeats_dropout_and_batch_norm(chunk_size: int | None) -> None:
    """With live statistics and dropout the gradients, and the statistics afterwards, are those without."""
    plain, recomputed = backbone(dropout=0.5), backbone(dropout=0.5)
    same(step(plain, chunk_size), step(recomputed, chunk_size, recompute=True))
    assert len(recomputed.seen) == 2 * len(plain.seen)
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, recomputed.get_buffer(name)), name
    assert int(plain.layers[1].num_batches_tracked) == len(plain.seen)


def test_recomputation_under_autocast() -> None:
    """The second pass is in bfloat16 like the first."""
    images, mask = studies()
    found = []
    for recompute in (False, True):
        net = backbone().float().train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            feats = encode_images(net, images.float(), mask, 4, net if recompute else None)
        found.append([feats.detach(), *torch.autograd.grad(feats.float().square().sum(), list(net.parameters()))])
    assert all(torch.equal(plain, recomputed) for plain, recomputed in zip(*found, strict=True))


def test_what_recomputation_would_do_to_the_statistics() -> None:
    """Without the guard a second pass moves them, which shows that the test above can fail."""
    net = backbone()
    before = copy.deepcopy(dict(net.named_buffers()))
    with unchanged_buffers(net):
        net(torch.randn(4, 3, 8, 8, dtype=torch.float64))
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    net(torch.randn(4, 3, 8, 8, dtype=torch.float64))
    assert not any(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def test_padding_is_not_computed_and_zero() -> None:
    """The batch's features are those of each study alone, though the padding is NaN."""
    net = backbone().eval()
    images, mask = studies()
    feats = encode_images(net, images, mask, chunk_size=4)
    assert net.seen == [3, 3, 3], "nine images of fifteen places, in equal chunks"
    assert (feats[~mask] == 0).all()
    for index, length in enumerate(LENGTHS):
        alone = encode_images(net, images[index : index + 1, :length], mask[index : index + 1, :length])
        torch.testing.assert_close(feats[index, :length], alone[0], rtol=1e-9, atol=1e-12)


def test_no_activation_is_kept() -> None:
    """What autograd holds between the passes: with recomputation much less, and not more for more images."""

    def held(repeats: int, recompute: bool) -> int:
        net, sizes = backbone(), []
        images = torch.randn(repeats, 4, 3, 16, 16, dtype=torch.float64)
        mask = torch.ones(repeats, 4, dtype=torch.bool)

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encode_images(net, images, mask, 4, net if recompute else None)
        return sum(sizes)

    assert held(4, False) > 3.9 * held(1, False) > 1000
    assert held(4, True) < 100


def test_maps_are_kept() -> None:
    images, mask = studies()
    feats = encode_images(nn.Conv2d(3, 2, 3).double(), images, mask, chunk_size=2)
    assert feats.shape == (3, 5, 2, 6, 6) and (feats[~mask] == 0).all() and feats.isfinite().all()


def test_faults_are_named() -> None:
    images, mask = studies()
    with pytest.raises(ConfigError, match="chunk_size=0; give"):
        encode_images(backbone(), images, mask, 0)
    with pytest.raises(ConfigError, match=r"expected \(studies, images, 3"):
        encode_images(backbone(), images[0], mask)
    with pytest.raises(ConfigError, match="none of the 3 studies of the batch has an image"):
        encode_images(backbone(), images, mask & False)
