"""DINO (Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021), which mmpretrain lacks.

Command: ``python tools/train.py configs/dino_busi.py --amp``.
"""

import torch
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.models.utils import CosineEMA
from torch import Tensor, nn

from medkit.registry import MODELS


@MODELS.register_module()
class DINO(BaseSelfSupervisor):
    """A student that predicts the distribution which its own moving average, the teacher, gives to another view.

    The teacher starts as a copy of the student and moves before each step, by a share that falls from
    ``base_momentum`` to 0 along a cosine over the run (the paper's momentum rises from 0.996 to 1). Its count of steps
    is part of the checkpoint.

    Args:
        backbone: config; a transformer gives all tokens, class token first.
        neck: config of `DINONeck`.
        head: config of `DINOHead`.
        base_momentum: share of the student that the teacher takes over at the first steps.
        num_global: views at the start of the list that the teacher sees; the student sees all, so smaller crops
            may follow (``MultiView(num_views=[2, 6], transforms=[view, small_view])``).
        kwargs: as for mmpretrain's `BaseSelfSupervisor`.
    """

    def __init__(
        self, backbone: dict, neck: dict, head: dict, base_momentum: float = 0.004, num_global: int = 2, **kwargs
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.num_global = num_global
        self.momentum_encoder = CosineEMA(self._student(), momentum=base_momentum)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None, **kwargs) -> dict[str, Tensor]:
        """Loss of the views, (B, 3, H, W) each; those after the first ``num_global`` may be smaller."""
        student = self._student()
        with torch.no_grad():
            self.momentum_encoder.update_parameters(student)
            teacher = [self.momentum_encoder(view) for view in inputs[: self.num_global]]  # (B, K) each
        return dict(loss=self.head.loss([student(view) for view in inputs], teacher))

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.backbone, self.neck, self.head.prototypes)
