"""A projector that takes the features of a convolutional backbone and of a vision transformer alike.

So a self-supervised method is one config fragment for either. Command: ``python tools/train.py
configs/simclr_busi.py``.
"""

from mmpretrain.models.necks import NonLinearNeck
from torch import Tensor

from medkit.registry import MODELS


def pool_features(outputs: tuple[Tensor, ...]) -> Tensor:
    """(B, C) of a backbone's last output: the mean of a map (B, C, H, W), the class token of tokens (B, 1 + N, C)."""
    features = outputs[-1]
    if features.dim() == 4:
        return features.mean(dim=(2, 3))
    return features[:, 0] if features.dim() == 3 else features


@MODELS.register_module()
class ProjectionNeck(NonLinearNeck):
    """mmpretrain's `NonLinearNeck` after pooling: the mean of a feature map, or a transformer's class token.

    mmpretrain's takes a transformer only where that gives its class token alone, but the encoders here give all tokens
    (their attention and mean are evaluated too). Its weights have the same names.

    Args:
        norm_cfg: plain batch norm; ``sync_bn`` in the config synchronises it over GPUs. mmpretrain's default, SyncBN,
            does not run on a CPU.
        kwargs: as for `mmpretrain.models.necks.NonLinearNeck`.
    """

    def __init__(self, *args, norm_cfg: dict | None = None, **kwargs) -> None:
        super().__init__(*args, with_avg_pool=False, norm_cfg=norm_cfg or dict(type="BN1d"), **kwargs)

    def forward(self, x: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Project a backbone's outputs, see `pool_features`, to (B, out_channels)."""
        return super().forward((pool_features(x),))
