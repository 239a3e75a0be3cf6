"""Normalises the two views and passes their saliency maps on to SSiT.

Command: ``python tools/train.py configs/ssit_vit-s_fundus.py``.
"""

from mmpretrain.models.utils import SelfSupDataPreprocessor

from medkit.errors import DatasetError
from medkit.registry import MODELS


@MODELS.register_module()
class SaliencyDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor for several views, for batches that carry a saliency map per view.

    Takes what ``default_collate`` makes of `PackSaliencyViews`'s samples, and returns the same keys on the model's
    device, images as normalised float32:

    - ``inputs``: list of views, each (B, 3, H, W) uint8, BGR when ``to_rgb=True``;
    - ``saliency``: list of maps, one per view, each (B, 1, H, W) float, 0 to 1.

    Raises:
        DatasetError: the batch has no ``saliency``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise ``inputs``, move ``saliency``."""
        if "saliency" not in data:
            raise DatasetError(
                f"the batch has no 'saliency', only {sorted(data)}; end the pipeline with medkit.PackSaliencyViews "
                "and take images from medkit.SaliencyImages"
            )
        views = {"inputs": data["inputs"], "data_samples": data.get("data_samples")}
        return {**super().forward(views, training), "saliency": self.cast_data(data["saliency"])}
