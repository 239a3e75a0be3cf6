"""The two halves of the 3-D autoencoder: volumes to codes and back (plan: see `ConvAutoencoder3D`).

Used by ``configs/cae3d_brain_phantom.py``.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medkit.models.volumes.resample import UPSAMPLING, halve


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
        self.checkpointing = checkpointing
        self.code: nn.Module = nn.Conv3d(widths[-1], code_channels, 3, padding=1)
        if code_dim is not None:
            self.code = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * math.prod(grid or ()), code_dim))

    def forward(self, volumes: Tensor) -> Tensor:
        """Codes (B, K) float32."""
        x = volumes
        for stage in self.stages:
            x = recomputed(stage, x) if self.checkpointing else stage(x)
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
        self.checkpointing = checkpointing

    def forward(self, codes: Tensor, grid: Sequence[int]) -> Tensor:
        """``grid``: (d, h, w) of the code map."""
        x = self.unfold(codes).unflatten(1, (self.in_channels, *grid))  # (B, C, d, h, w)
        for stage in self.stages:
            x = recomputed(stage, x) if self.checkpointing else stage(x)
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
