"""DINO's prototypes and loss (Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021).

Command: ``python tools/train.py configs/dino_busi.py``.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.logging import MessageHub
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.registry import MODELS


def dino_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], center: Tensor, student_temp: float, teacher_temp: float
) -> Tensor:
    """Cross-entropy between the teacher's and the student's distributions, averaged over all pairs of two views.

    Args:
        student: (B, K) scores of each view, the teacher's views first.
        teacher: (B, K) scores of the global views.
        center: (K,), subtracted from the teacher's scores so that no prototype wins everywhere.
        student_temp: divides the student's scores.
        teacher_temp: divides the teacher's; lower, so that its distribution is sharper.
    """
    targets = [F.softmax((scores - center) / teacher_temp, dim=1).detach() for scores in teacher]
    logs = [F.log_softmax(scores / student_temp, dim=1) for scores in student]
    pairs = [-(t * log).sum(dim=1).mean() for i, t in enumerate(targets) for j, log in enumerate(logs) if i != j]
    return torch.stack(pairs).mean()


class Prototypes(BaseModule):
    """Cosines of unit vectors (B, C) with K trained directions: weight normalisation whose length is fixed at 1."""

    def __init__(self, in_channels: int, num_prototypes: int, frozen_epochs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_prototypes, in_channels))
        self.frozen_epochs = frozen_epochs
        trunc_normal_(self.weight, std=0.02)

    def forward(self, x: tuple[Tensor, ...]) -> Tensor:
        """Scores (B, K), float32. While frozen the directions get a gradient of zero, which DDP can reduce."""
        weight: Tensor = self.weight
        if current_epoch() < self.frozen_epochs:
            weight = weight.detach() + 0 * weight
        with torch.autocast(x[0].device.type, enabled=False):
            return F.linear(x[0].float(), F.normalize(weight, dim=1))


def current_epoch() -> int:
    """Epoch of the run, from 0, which a resumed run continues; 0 outside of one."""
    hub = MessageHub.get_current_instance()
    return int(hub.get_info("epoch", 0))


@MODELS.register_module()
class DINOHead(BaseModule):
    """Prototypes and the loss with centring and sharpening.

    Args:
        in_channels: C, of the projector's outputs.
        num_prototypes: K; 65536 in the paper.
        student_temp: see `dino_loss`.
        teacher_temp: the teacher's temperature after the warm-up.
        warmup_teacher_temp: the one it starts from, rising linearly by epoch.
        warmup_teacher_temp_epochs: length of the warm-up.
        center_momentum: share of the old centre that stays at a step.
        frozen_epochs: epochs at the start in which the prototypes do not move.
        loss_weight: factor of the loss, 1 as published; ``student_temp`` suits plain SGD (see `SimCLR`).

    Raises:
        ConfigError: a temperature is not above 0, or the momentum not within 0 to 1.
    """

    center: Tensor

    def __init__(
        self,
        in_channels: int = 256,
        num_prototypes: int = 65536,
        student_temp: float = 0.1,
        teacher_temp: float = 0.07,
        warmup_teacher_temp: float = 0.04,
        warmup_teacher_temp_epochs: int = 30,
        center_momentum: float = 0.9,
        frozen_epochs: int = 1,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if min(student_temp, teacher_temp, warmup_teacher_temp) <= 0 or not 0 <= center_momentum <= 1:
            raise ConfigError(
                f"DINOHead: temperatures {student_temp}, {teacher_temp}, {warmup_teacher_temp} must be above 0, "
                f"center_momentum={center_momentum} within 0 to 1"
            )
        self.prototypes = Prototypes(in_channels, num_prototypes, frozen_epochs)
        self.student_temp, self.center_momentum, self.loss_weight = student_temp, center_momentum, loss_weight
        rising = torch.linspace(warmup_teacher_temp, teacher_temp, warmup_teacher_temp_epochs)
        self.temps = [*rising.tolist(), teacher_temp]  # by epoch, the last for all later ones
        self.register_buffer("center", torch.zeros(num_prototypes))  # (K,)

    def teacher_temp(self, epoch: int) -> float:
        """The teacher's temperature in an epoch, counted from 0."""
        return self.temps[min(epoch, len(self.temps) - 1)]

    def loss(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Loss of scores, see `dino_loss`; the centre then moves towards the mean of the teacher's."""
        loss = dino_loss(student, teacher, self.center, self.student_temp, self.teacher_temp(current_epoch()))
        mean = torch.cat(list(teacher)).detach().mean(dim=0)  # (K,)
        all_reduce(mean, op="mean")
        self.center = self.center.lerp(mean, 1 - self.center_momentum)
        return self.loss_weight * loss
