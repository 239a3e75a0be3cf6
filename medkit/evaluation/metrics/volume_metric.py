"""VolumeMetric: how well an autoencoder of volumes reconstructs, and whose codes are neighbours, while it trains.

The full protocol, by folds of subjects, is ``python tools/crossval.py CONFIG``. In a config::

    val_evaluator = dict(type='medkit.VolumeMetric')
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from medkit.errors import ConfigError
from medkit.evaluation.functional.neighbours import all_neighbours
from medkit.evaluation.functional.reconstruction import brain_mask, rmse_percent
from medkit.registry import METRICS


@METRICS.register_module()
class VolumeMetric(BaseMetric):
    """``volumes/rmse`` and ``rmse_brain`` in per cent of the intensity range, and ``nearest``.

    ``nearest`` is the share of labelled scans whose nearest scan of another subject has their label; it is left out
    where there are less than two labels or subjects. Reads ``code`` (K,), ``reconstruction`` (D, H, W), ``gt_label``
    and ``subject`` of each sample, and the batch's ``inputs`` (B, 1, D, H, W).

    Raises:
        ConfigError: a sample has no code.
    """

    default_prefix = "volumes"

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep code and errors of each volume."""
        for volume, sample in zip(data_batch["inputs"], data_samples, strict=True):
            if "code" not in sample:
                raise ConfigError(
                    f"a data sample has no code, only {sorted(sample)}; VolumeMetric judges medkit.ConvAutoencoder3D"
                )
            truth, made = volume[0].float().cpu().numpy(), sample["reconstruction"].numpy()  # (D, H, W)
            errors = rmse_percent(truth, made), rmse_percent(truth, made, brain_mask(truth))
            label = int(sample.get("gt_label", -1))
            self.results.append((sample["code"].numpy(), label, str(sample.get("subject", "")), *errors))

    def compute_metrics(self, results: list[tuple[Any, ...]]) -> dict[str, float]:
        """All metrics of the set."""
        codes, labels, subjects, whole, brain = (np.array(column) for column in zip(*results, strict=True))
        values = {"rmse": float(whole.mean()), "rmse_brain": float(brain.mean())}
        known = labels >= 0
        codes, labels, subjects = codes[known], labels[known], subjects[known]
        if len(set(labels)) > 1 and len(set(subjects)) > 1:
            nearest = all_neighbours(codes, codes, 1, "l2", (subjects, subjects))[1][:, 0]
            values["nearest"] = float((labels[nearest] == labels).mean())
        return values
