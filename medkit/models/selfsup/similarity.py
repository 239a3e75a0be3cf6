"""SimSiam's loss (Chen and He, 2021), in float32 also where the network runs in bfloat16.

Command: ``python tools/train.py configs/simsiam_liver.py --amp``.
"""

from mmpretrain.models.losses import CosineSimilarityLoss as MMPretrainCosineSimilarityLoss
from torch import Tensor

from medkit.registry import MODELS


@MODELS.register_module()
class CosineSimilarityLoss(MMPretrainCosineSimilarityLoss):
    """mmpretrain's loss, computed in float32.

    Under autocast mmpretrain's runs in the outputs' dtype. In bfloat16 the numbers above -1 are 1/256 apart,
    so a good match cannot be told from a perfect one.
    """

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Negative cosine similarity of (B, C) predictions and targets, averaged over B."""
        return super().forward(pred.float(), target.float(), mask)
