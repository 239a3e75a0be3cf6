"""NNCLR, contrastive learning with nearest neighbours as positives, which mmpretrain lacks.

Dwibedi, Aytar, Tompson, Sermanet and Zisserman, "With a Little Help from My Friends: Nearest-Neighbor Contrastive
Learning of Visual Representations", ICCV 2021.
Command: ``python tools/train.py configs/nnclr_busi.py --amp``.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import Tensor

from medkit.errors import ConfigError
from medkit.models.common.contrastive import gather
from medkit.models.selfsup.info_nce import info_nce
from medkit.registry import MODELS


def nearest_in(queue: Tensor, z: Tensor) -> Tensor:
    """The rows of a queue (Q, C), of unit length, that are nearest in angle to each of z (B, C): (B, C)."""
    with torch.autocast(z.device.type, enabled=False):
        return queue[(F.normalize(z.float(), dim=1) @ queue.T).argmax(dim=1)]


@MODELS.register_module()
class NNCLR(BaseSelfSupervisor):
    """Contrasts the prediction from one view with the nearest neighbour of the other view in a queue of past outputs.

    As algorithm 1 of the paper: the predictor is applied to the outputs as they are, the neighbours are looked up
    among those of earlier steps, then the first views' outputs of all processes replace the oldest. The queue is
    part of the checkpoint, so that a resumed run goes on as it would have.

    Args:
        queue_size: Q; the paper's 98304 is 8 % of ImageNet. Keep it well below the number of images, or an image
            mostly finds itself.
        temperature: divides the cosines.
        loss_weight: factor of the loss, 1 as published. LARS does not see it, plain SGD does: the temperature gives
            the outputs a gradient of the size that SimSiam's loss gives them.
        kwargs: ``backbone``, ``neck`` (to C channels), ``head`` (config of `NNCLRHead`) and ``data_preprocessor`` as
            for mmpretrain's `BaseSelfSupervisor`.

    Raises:
        ConfigError: ``queue_size`` is no positive number, or smaller than the batch of all processes.
    """

    queue: Tensor

    def __init__(
        self, queue_size: int = 98304, temperature: float = 0.1, loss_weight: float = 1.0, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        if queue_size < 1 or temperature <= 0:
            raise ConfigError(f"NNCLR: queue_size={queue_size}, temperature={temperature}; both must be above 0")
        self.temperature, self.loss_weight = temperature, loss_weight
        channels = self.head.predictor.fc0.in_features
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, channels), dim=1))  # (Q, C), newest first

    def loss(self, inputs: list[Tensor], data_samples: list | None = None, **kwargs) -> dict[str, Tensor]:
        """Loss of two views, (B, 3, H, W) each, both ways."""
        z1, z2 = (self.neck(self.backbone(view))[0] for view in inputs)  # (B, C) each
        p1, p2 = (self.head.predictor((z,))[0] for z in (z1, z2))
        with torch.no_grad():
            near1, near2 = nearest_in(self.queue, z1), nearest_in(self.queue, z2)
            self._remember(z1)
        losses = [info_nce(near, p, self.temperature, scale=self.loss_weight) for near, p in ((near1, p2), (near2, p1))]
        return dict(loss=(losses[0] + losses[1]) / 2)

    def _remember(self, z: Tensor) -> None:
        new = gather(F.normalize(z.detach().float(), dim=1))
        if len(new) > len(self.queue):
            raise ConfigError(
                f"NNCLR: a step of {len(new)} images does not fit queue_size={len(self.queue)}; set a larger queue_size"
            )
        self.queue = torch.cat((new, self.queue[: len(self.queue) - len(new)]))


@MODELS.register_module()
class NNCLRHead(BaseModule):
    """Holds NNCLR's predictor, under the name that other methods use.

    Args:
        predictor: config of a neck.
    """

    def __init__(self, predictor: dict) -> None:
        super().__init__()
        self.predictor = MODELS.build(predictor)
