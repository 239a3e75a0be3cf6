"""What several model families share."""

from medkit.models.common.contrastive import nt_xent
from medkit.models.common.distance_softmax import DistanceSoftmaxLoss
from medkit.models.common.finite import check_losses

__all__ = ["DistanceSoftmaxLoss", "check_losses", "nt_xent"]
