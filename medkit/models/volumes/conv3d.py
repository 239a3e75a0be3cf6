"""The two halves of the 3-D autoencoder: volumes to codes and back (plan: see `ConvAutoencoder3D`).

Used by ``configs/cae3d_brain_phantom.py``.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medkit.models.volumes.resample import UPSAMPLING, halve

SLABS = 8  # of a volume, with checkpointing


class EncoderStage(nn.Sequential):
    """(B, C, D, H, W) to (B, C', D/2, H/2, W/2): convolutions with ReLU, average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, halve."""
        return halve(super().forward(x))


class DecoderStage(nn.Sequential):
    """(B, C, D, H, W) to (B, C', 2D, 2H, 2W): up-sampling, convolutions."""

    def __init__(self, upsample: Callable[[Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        """Double, convolve."""
        return super().forward(self.upsample(x))


class VolumeEncoder(nn.Module):
    """(B, 1, D, H, W) to codes (B, K), flattened in the order (channel, D, H, W).

    Args:
        channels: of the stages.
        convs_per_stage: convolutions before each halving.
        code_channels: channels of the code map; with ``code_dim`` not used.
        code_dim: length of the code if a fully connected layer makes it; None: a convolution does.
        grid: (d, h, w) after the last stage, for ``code_dim``.
        checkpointing: compute activations again in the backward pass.
    """

    def __init__(
        self,
        channels: Sequence[int],
        convs_per_stage: int,
        code_channels: int,
        code_dim: int | None,
        grid: Sequence[int] | None,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        widths = [1, *channels]
        self.stages = nn.ModuleList(
            EncoderStage(*convolutions(widths[i], widths[i + 1], convs_per_stage)) for i in range(len(channels))
        )
        self.checkpointing, self.reach = checkpointing, convs_per_stage
        self.code: nn.Module = nn.Conv3d(widths[-1], code_channels, 3, padding=1)
        if code_dim is not None:
            self.code = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * math.prod(grid or ()), code_dim))

    def forward(self, volumes: Tensor) -> Tensor:
        """Codes (B, K) float32."""
        x = volumes
        for index, stage in enumerate(self.stages):
            if self.checkpointing:
                x = in_slabs(stage, x, self.reach, 2, 1) if index == 0 else recomputed(stage, x)
            else:
                x = stage(x)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would leave 8 bits to the codes
            return self.code(x.to(self._dtype)).flatten(1)  # (B, K); linear: ReLU would make distances one-sided

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.code.parameters()).dtype


class VolumeDecoder(nn.Module):
    """Codes (B, K) to (B, 1, D, H, W); arguments as for `VolumeEncoder`, and ``upsample``, a key of `UPSAMPLING`."""

    def __init__(
        self,
        channels: Sequence[int],
        convs_per_stage: int,
        code_channels: int,
        code_dim: int | None,
        grid: Sequence[int] | None,
        checkpointing: bool,
        upsample: str,
    ) -> None:
        super().__init__()
        self.in_channels = code_channels if code_dim is None else channels[-1]
        self.unfold: nn.Module = nn.Identity()
        if code_dim is not None:
            self.unfold = nn.Linear(code_dim, channels[-1] * math.prod(grid or ()))
        widths = [self.in_channels, *reversed(channels)]
        layers = [convolutions(widths[i], widths[i + 1], convs_per_stage) for i in range(len(channels))]
        layers[-1].append(nn.Conv3d(channels[0], 1, 3, padding=1))  # in the last stage, so that it is recomputed too
        self.stages = nn.ModuleList(DecoderStage(UPSAMPLING[upsample], *stage) for stage in layers)
        self.checkpointing, self.reach = checkpointing, convs_per_stage + 1

    def forward(self, codes: Tensor, grid: Sequence[int]) -> Tensor:
        """``grid``: (d, h, w) of the code map."""
        x = self.unfold(codes).unflatten(1, (self.in_channels, *grid))  # (B, C, d, h, w)
        for index, stage in enumerate(self.stages, 1):
            if self.checkpointing:
                x = in_slabs(stage, x, self.reach, 1, 2) if index == len(self.stages) else recomputed(stage, x)
            else:
                x = stage(x)
        return x


def convolutions(inside: int, outside: int, number: int) -> list[nn.Module]:
    """``number`` times a convolution of 3 x 3 x 3 with ReLU."""
    layers: list[nn.Module] = []
    for index in range(number):
        layers += [nn.Conv3d(outside if index else inside, outside, 3, padding=1), nn.ReLU(inplace=True)]
    return layers


def recomputed(stage: nn.Module, x: Tensor) -> Tensor:
    """``stage(x)`` whose activations are not kept; no random numbers are drawn in it."""
    return checkpoint(stage, x, use_reentrant=False, preserve_rng_state=False)


def in_slabs(stage: nn.Module, x: Tensor, reach: int, inside: int, outside: int) -> Tensor:
    """`recomputed` slab after slab along D, so that one slab's activations are held at a time.

    The stage at full resolution holds more than all others together. Each slab brings so many neighbours that what the
    cut spoils is cut off again: the result is that of the whole volume.

    Args:
        stage: an encoder or decoder stage.
        x: (B, C, D, H, W).
        reach: voxels of full resolution up to which the convolutions of the stage see.
        inside: voxels of the input along D for each of low resolution: 2 in the encoder, 1 in the decoder.
        outside: the same of the output.
    """
    halo = reach // 2 + 1  # voxels of low resolution; covers the up-sampling too
    length = x.shape[2] // inside
    thick = max(-(-length // SLABS), 2 * halo)
    slabs = []
    for start in range(0, length, thick):
        stop = min(start + thick, length)
        low, high = max(start - halo, 0), min(stop + halo, length)
        slab = recomputed(stage, x[:, :, low * inside : high * inside])
        slabs.append(slab[:, :, (start - low) * outside : (stop - low) * outside])
    return torch.cat(slabs, dim=2)
