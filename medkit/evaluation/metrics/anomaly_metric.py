"""AnomalyMetric: how well scores and maps tell anomalous images from healthy ones, in mmengine's evaluator.

In a config::

    val_dataloader = dict(dataset=dict(type='medkit.AnomalyImages', roles=('val', 'healthy', 'mixed'), ...), ...)
    val_evaluator = dict(type='medkit.AnomalyMetric')

With ``save_best='anomaly/aucp'`` the checkpoint is chosen without a label of a diseased image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from medkit.errors import ConfigError, MedkitError
from medkit.evaluation.functional import resample
from medkit.evaluation.functional.anomaly import (
    CUTOFF_RULES,
    HEALTHY_QUANTILE,
    anomaly_draws,
    anomaly_intervals,
    anomaly_metrics,
    aucp,
    choose_cutoff,
)
from medkit.evaluation.functional.anomaly_pixels import best_dice_cutoff, pixel_metrics
from medkit.registry import METRICS

__all__ = ["AnomalyMetric"]


@METRICS.register_module()
class AnomalyMetric(BaseMetric):
    """AUROC, average precision, rates at a cut-off, pixel metrics where masks are given, and AUCp.

    Reads of each data sample: ``pred_score`` (higher = more anomalous); ``gt_label`` (0, 1; -1 or absent: unknown);
    ``role`` (val, test, healthy, mixed; absent: test); ``patient_id``; ``anomaly_map`` (H, W) and ``gt_mask``, an array
    (H, W) or the path of an image.

    Labelled images of role test are judged; where there are none, those of role val, on which the cut-off is then
    chosen too: ``anomaly/cutoff_in_sample`` is 1. Healthy and mixed images give AUCp alone.

    Keys: ``anomaly/auroc``, ``ap``, ``precision``, ``recall``, ``specificity``, ``f1``, ``cutoff`` and
    ``cutoff_in_sample``; with masks ``pixel_auroc``, ``aupro``, ``dice`` (pixels' cut-off: best Dice of the validation
    images); ``aucp`` where healthy and mixed images were scored. After `evaluate`, ``intervals`` holds 95 % intervals
    by patient.

    Args:
        cutoff: fixed cut-off of the score; None chooses it by ``rule``.
        rule: 'validation', 'youden', 'healthy' or 'test', see `choose_cutoff`.
        quantile: of the rule 'healthy'.
        num_draws: draws of patients for the intervals; 0, as while training, gives none.
        contamination: share of anomalous images in the mixed set, where it is known; 0 silences AUCp.
        collect_device: 'cpu' or 'gpu', as in mmengine.
        collect_dir: as in mmengine.

    Raises:
        ConfigError: unknown rule, a sample without score, or nothing that can be judged.
        MedkitError: a score is NaN or infinite.
    """

    default_prefix = "anomaly"

    def __init__(
        self,
        cutoff: float | None = None,
        rule: str = "validation",
        quantile: float = HEALTHY_QUANTILE,
        num_draws: int = 0,
        contamination: float | None = None,
        collect_device: str = "cpu",
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        if rule not in CUTOFF_RULES or not 0 < quantile < 1:
            raise ConfigError(
                f"AnomalyMetric: rule={rule!r}, quantile={quantile}; expected one of {', '.join(CUTOFF_RULES)} and a "
                "share in (0, 1)"
            )
        self.cutoff, self.rule, self.quantile = cutoff, rule, quantile
        self.num_draws, self.contamination = num_draws, contamination
        self.intervals: dict[str, tuple[float, float]] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of each image what is judged; maps only where there is a mask."""
        self.results.extend(_kept(sample) for sample in data_samples)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """All metrics of the set."""
        self.intervals = {}
        roles = ("val", "test", "healthy", "mixed")
        of_role = {role: [one for one in results if one["role"] == role] for role in roles}
        val, test = ([one for one in of_role[role] if one["label"] in (0, 1)] for role in ("val", "test"))
        values = self._judge(val, test or val) if val or test else {}
        if of_role["healthy"] and of_role["mixed"]:
            area, said = aucp(_scores(of_role["healthy"]), _scores(of_role["mixed"]), self.contamination)
            if said:
                print_log(said, logger="current")
            values["aucp"] = area
        if not values:
            raise ConfigError(
                f"AnomalyMetric got {len(results)} images, none of them labelled 0 or 1 and of role val or test, and "
                "not both healthy and mixed ones; evaluate medkit.AnomalyImages(roles=('val', ...))"
            )
        return values

    def _judge(self, val: list[dict], judged: list[dict]) -> dict[str, float]:
        labels, scores = _labels(judged), _scores(judged)
        if len(set(labels.tolist())) < 2:
            raise ConfigError(
                f"all {len(labels)} labelled images have the label {labels[0]}; healthy (0) and anomalous (1) ones are "
                "needed"
            )
        cutoff = self.cutoff
        if cutoff is None:
            given = (_labels(val), _scores(val)) if val else None
            if given is None and self.rule != "test":
                raise ConfigError(
                    f"AnomalyMetric: rule={self.rule!r} needs images of role val; add it to the roles, or set cutoff="
                )
            cutoff = choose_cutoff(self.rule, given, (labels, scores), self.quantile)
        values = {name: float(value) for name, value in anomaly_metrics(labels, scores, cutoff).items()}
        in_sample = self.cutoff is None and (self.rule == "test" or judged is val)
        values |= {"cutoff": float(cutoff), "cutoff_in_sample": float(in_sample)}
        if self.num_draws:
            taken = resample([one["patient"] for one in judged], len(judged), self.num_draws)
            self.intervals = anomaly_intervals(anomaly_draws(labels, scores, cutoff, taken))
        return values | _pixels(val, judged)


def _pixels(val: list[dict], judged: list[dict]) -> dict[str, float]:
    """Pixel metrics of the judged images with masks; Dice only where validation images give a cut-off."""
    outlined, chosen_on = ([one for one in part if one["mask"] is not None] for part in (judged, val))
    if not any(one["mask"].any() for one in outlined):
        return {}
    cutoff = np.inf
    if any(one["mask"].any() for one in chosen_on):
        cutoff = best_dice_cutoff([one["map"] for one in chosen_on], [one["mask"] for one in chosen_on])
    values = pixel_metrics([one["map"] for one in outlined], [one["mask"] for one in outlined], cutoff)
    return values if np.isfinite(cutoff) else {name: value for name, value in values.items() if name != "dice"}


def _kept(sample: dict) -> dict:
    if "pred_score" not in sample:
        raise ConfigError(
            f"a data sample has no pred_score, only {sorted(sample)}; AnomalyMetric judges anomaly detectors"
        )
    name = sample.get("img_path")
    score = float(sample["pred_score"])
    if not np.isfinite(score):
        raise MedkitError(
            f"the score of {name} is {score}, so the weights are spoilt; go back to an earlier checkpoint"
        )
    label, role = int(sample.get("gt_label", -1)), sample.get("role") or "test"
    kept: dict[str, Any] = {"score": score, "label": label, "role": role}
    kept |= {"patient": sample.get("patient_id"), "img_path": name, "mask": None, "map": None}
    if sample.get("gt_mask") is not None and sample.get("anomaly_map") is not None:
        kept["map"] = _array(sample["anomaly_map"]).astype(np.float32)
        kept["mask"] = _mask(sample["gt_mask"], kept["map"].shape)
    return kept


def _mask(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool in the size of the map; a file is resized to it, an array must fit."""
    if isinstance(mask, (str, Path)):
        found = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
        if found is None:
            raise ConfigError(f"mask {mask} cannot be decoded; expected a grey PNG, not 0 where the image is anomalous")
        mask = cv2.resize(found, shape[::-1], interpolation=cv2.INTER_NEAREST)
    mask = _array(mask) > 0
    if mask.shape != shape:
        raise ConfigError(f"gt_mask is {mask.shape}, the anomaly map {shape}; both must have the size of the input")
    return mask


def _array(value: Any) -> np.ndarray:
    return value.detach().float().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _labels(results: list[dict]) -> np.ndarray:
    return np.array([one["label"] for one in results], np.int64)


def _scores(results: list[dict]) -> np.ndarray:
    return np.array([one["score"] for one in results], np.float64)
