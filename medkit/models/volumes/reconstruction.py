"""Reconstruction error of volumes whose larger part is empty: plain, in the brain alone, or weighted.

Onga et al. (arXiv 1912.01824) take the plain mean square; more than 60 % of a skull-stripped volume is background,
which then dominates it. Command: ``python tools/train.py configs/cae3d_brain_phantom.py``.
"""

from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.registry import MODELS

BACKGROUND = {"plain": 1.0, "masked": 0.0, "weighted": 0.1}  # weight of a background voxel; of others 1


@MODELS.register_module()
class ReconstructionLoss(nn.Module):
    """Weighted mean square error of each volume, averaged over volumes.

    Args:
        type: 'plain' weighs all voxels alike, 'masked' counts those of the input above ``threshold`` alone,
            'weighted' gives the others the weight ``background``.
        background: 0 to 1, for 'weighted'.
        threshold: intensity of the input up to which a voxel is background; 0 fits skull-stripped volumes.
        root: root of the mean square of each volume, as in the follow-up (arXiv 2108.06518).

    Raises:
        ConfigError: an unknown type or a weight out of range.
    """

    def __init__(
        self, type: str = "plain", background: float | None = None, threshold: float = 0.0, root: bool = False
    ) -> None:
        super().__init__()
        if type not in BACKGROUND or (background is not None and (type != "weighted" or not 0 <= background <= 1)):
            raise ConfigError(
                f"reconstruction: type={type!r}, background={background}; expected one of {', '.join(BACKGROUND)}, and "
                "background from 0 to 1 with 'weighted' alone"
            )
        self.background = BACKGROUND[type] if background is None else background
        self.threshold, self.root = threshold, root

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Scalar error of (B, 1, D, H, W), computed at least in float32."""
        error = self.per_volume(output, target)  # (B,)
        return error.sqrt().mean() if self.root else error.mean()

    def per_volume(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean square error (B,)."""
        squared = (output.float() if target.dtype.itemsize < 8 else output).sub(target).square().flatten(1)  # (B, V)
        if self.background == 1:
            return squared.mean(dim=1)
        inside = (target.flatten(1) > self.threshold).to(squared)
        weight = inside + self.background * (1 - inside)  # (B, V)
        return (squared * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
