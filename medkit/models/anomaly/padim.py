"""PaDiM: a Gaussian of a backbone's features at every position of healthy images, and the distance to it.

Source: Defard et al., "PaDiM" (ICPR 2021 workshops, arXiv 2011.08785); anomalib 2.7.0's model (Apache-2.0).
Command: ``python tools/train.py configs/padim_phantom.py --data-root data/phantom_anomaly``.
"""

import logging

from mmengine.logging import print_log
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.anomaly.local_backbone import LocalBackboneModel, require_anomalib
from medkit.registry import MODELS


@MODELS.register_module()
class PaDiM(LocalBackboneModel):
    """anomalib's `PadimModel` on a local backbone.

    Each position keeps mean and inverse covariance (N - 1, plus .01001 on the diagonal) of ``n_features`` channels,
    drawn at random. The map is the Mahalanobis distance, upsampled and blurred (sigma 4 pixels); an image scores its
    largest value. Positions are compared with themselves, so images must lie alike and have the size of the fit.

    Args:
        backbone: as for `LocalBackboneModel`; the paper takes layers 1 to 3 of a ResNet.
        n_features: channels kept; the paper keeps 100 of ResNet-18's 448, 550 of WideResNet-50-2's 1792.
        pretrained: as for `LocalBackboneModel`.
        max_memory_gb: as for `LocalBackboneModel`; the covariances take n_features^2 x positions x 4 bytes, three times
            while they are inverted.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: as `LocalBackboneModel`; more features than the backbone has; images of another size than fitted.
    """

    min_images = 2

    def __init__(
        self,
        backbone: dict,
        n_features: int = 100,
        pretrained: str | None = None,
        max_memory_gb: float = 8.0,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        require_anomalib("PaDiM")
        from anomalib.models.image.padim.torch_model import PadimModel

        super().__init__(backbone, pretrained, max_memory_gb, data_preprocessor, init_cfg)
        channels = sum(self.features.channels)
        if not 0 < n_features <= channels:
            raise ConfigError(
                f"PaDiM: n_features={n_features}, expected 1 to {channels}, the channels of all the backbone's maps"
            )
        self.n_features = n_features
        self.core = self.build_core(PadimModel, n_features=n_features)

    def needed_gb(self, num: int, size: int) -> float:
        """Features twice (batches, and all in one), covariances three times."""
        return (2 * num * self.n_features + 3 * self.n_features**2) * size * 4 / 1e9

    def fit(self) -> None:
        """Mean and inverse covariance of every position."""
        if self._collected <= self.n_features:
            print_log(
                f"PaDiM: {self._collected} healthy images for {self.n_features} features: the covariances have no full "
                "rank, only the .01 on their diagonal makes distances finite; give more images or a smaller n_features",
                logger="current",
                level=logging.WARNING,
            )
        self.core.fit()

    def is_fitted(self) -> bool:
        """Whether there are means."""
        return self.core.gaussian.mean.numel() > 0

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As `LocalBackboneModel.score`, of images in the size of the fit."""
        if self.is_fitted() and tuple(self.fitted_size.tolist()) != tuple(images.shape[-2:]):
            raise ConfigError(
                f"PaDiM was fitted to images of {tuple(self.fitted_size.tolist())} pixels (height, width), got "
                f"{tuple(images.shape[-2:])}; score with the img_size it was trained with"
            )
        return super().score(images)
