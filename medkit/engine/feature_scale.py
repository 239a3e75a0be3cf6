"""Features of the training bags to mean 0 and deviation 1, before the first step; the model keeps the numbers.

What an encoder gives may vary little about a large mean, above all one that is untrained or self-supervised: heads with
the published rates then hardly learn. Config: ``--cfg-options standardize=True`` with any ``configs/*_slides.py``.
"""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from medkit.errors import ConfigError
from medkit.registry import HOOKS


@HOOKS.register_module()
class FeatureScaleHook(Hook):
    """Gives the data preprocessor the ``feature_scale()`` of the training set, as its ``mean`` and ``std`` (D,).

    Each process reads the whole set, so all have the same; a resumed run computes what it had.

    Raises:
        ConfigError: the preprocessor has no such numbers, or the data set cannot give them.
    """

    def before_train(self, runner: Runner) -> None:
        """Compute and hand over."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        preprocessor, dataset = model.data_preprocessor, runner.train_dataloader.dataset
        if getattr(preprocessor, "mean", None) is None or not hasattr(dataset, "feature_scale"):
            raise ConfigError(
                f"FeatureScaleHook: {type(preprocessor).__name__} and {type(dataset).__name__}; expected "
                "medkit.BagDataPreprocessor with standardize=True, and medkit.BagDataset"
            )
        for name, value in zip(("mean", "std"), dataset.feature_scale(), strict=True):
            getattr(preprocessor, name).copy_(torch.from_numpy(value))
