"""PatchCore: the distance of an image's patches to a bank of patches of healthy images.

Source: Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (CVPR 2022, arXiv 2106.08265); anomalib
2.7.0's model (Apache-2.0), which differs from the authors' code: see docs/anomaly_backbones.md.
Command: ``python tools/train.py configs/patchcore_phantom.py --data-root data/phantom_anomaly``.
"""

import torch
from torch import nn

from medkit.errors import ConfigError
from medkit.models.anomaly.local_backbone import LocalBackboneModel, require_anomalib
from medkit.registry import MODELS

PROJECTED = 350  # dimensions in which anomalib chooses the coreset: 24.7 ln(patches), this for 1.4 million


@MODELS.register_module()
class PatchCore(LocalBackboneModel):
    """anomalib's `PatchcoreModel` on a local backbone.

    Maps are averaged over 3 x 3 positions, brought to the largest one's size and joined; a greedy k-centre coreset of
    the patches of all healthy images is the bank. The map is the distance of each patch to its nearest neighbour in the
    bank, upsampled and blurred (sigma 4 pixels); an image scores its largest distance, weighted down where
    the neighbour lies far from others of the bank.

    Args:
        backbone: as for `LocalBackboneModel`; the paper takes layers 2 and 3 of a WideResNet-50-2.
        coreset: share of the patches that the bank keeps.
        num_neighbors: of the bank, for the weight of an image's score; 1 weights nothing, as the authors' code.
        pretrained: as for `LocalBackboneModel`.
        max_memory_gb: as for `LocalBackboneModel`.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: as `LocalBackboneModel`; an argument is out of range, or the bank would be empty.
    """

    def __init__(
        self,
        backbone: dict,
        coreset: float = 0.1,
        num_neighbors: int = 9,
        pretrained: str | None = None,
        max_memory_gb: float = 8.0,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        require_anomalib("PatchCore")
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel

        super().__init__(backbone, pretrained, max_memory_gb, data_preprocessor, init_cfg)
        if not 0 < coreset <= 1 or num_neighbors < 1:
            raise ConfigError(
                f"PatchCore: coreset={coreset}, num_neighbors={num_neighbors}; expected above 0 to 1, and 1 or more"
            )
        self.coreset = coreset
        self.core = self.build_core(PatchcoreModel, num_neighbors=num_neighbors)

    def needed_gb(self, num: int, size: int) -> float:
        """Patches twice (batches, and all in one), once projected, and the bank."""
        values = sum(self.features.channels) * (2 + self.coreset) + PROJECTED
        return num * size * values * 4 / 1e9

    def fit(self) -> None:
        """Choose the bank."""
        patches = self._collected * self._positions
        if int(patches * self.coreset) < 1:
            raise ConfigError(
                f"PatchCore: coreset={self.coreset} of {patches} patches leaves none; raise coreset or give more images"
            )
        from anomalib.models.components import KCenterGreedy

        # Their subsample_embedding() does the same, and warns that a default of its own is deprecated.
        features = torch.vstack(self.core.embedding_store)  # (patches, C)
        self.core.embedding_store.clear()
        self.core.memory_bank = KCenterGreedy(features, sampling_ratio=self.coreset).sample_coreset()

    def is_fitted(self) -> bool:
        """Whether there is a bank."""
        return self.core.memory_bank.numel() > 0
