"""Detection models that mmdet lacks or that it gets wrong."""

from medkit.models.detection.centernet_head import CenterNetHead
from medkit.models.detection.centernet_losses import gaussian_focal_loss_with_logits
from medkit.models.detection.centernet_targets import centernet_targets, gaussian_radius

__all__ = ["CenterNetHead", "centernet_targets", "gaussian_focal_loss_with_logits", "gaussian_radius"]
