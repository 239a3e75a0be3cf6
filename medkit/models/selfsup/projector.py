"""A projector that takes the features of a convolutional backbone and of a vision transformer alike.

So a self-supervised method is one config fragment for either. Command: ``python tools/train.py
configs/simclr_busi.py``.
"""

from mmpretrain.models.necks import NonLinearNeck
from torch import Tensor

from medkit.registry import MODELS


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
        """Project the last of the backbone's outputs: (B, C, H, W), (B, 1 + N, C) or (B, C) -> (B, out_channels)."""
        features = x[-1]
        if features.dim() == 4:
            features = features.mean(dim=(2, 3))  # (B, C)
        elif features.dim() == 3:
            features = features[:, 0]  # (B, C), the class token
        return super().forward((features,))
