"""BagMetric: how well bags, such as slides, are classified, by patient, in mmengine's evaluator.

In a config::

    val_evaluator = dict(type='medkit.BagMetric')

Every number is of held-out patients only if the table's splits are; ``python tools/crossval.py`` divides by patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.bag_predictions import BagPrediction, bag_prediction, gathered, write_bag_predictions
from medkit.evaluation.functional.bags import (
    AGGREGATIONS,
    BagScores,
    bag_bootstrap,
    bag_metrics,
    by_patient,
    class_auroc,
    instance_auc,
)
from medkit.registry import METRICS

__all__ = ["BagMetric"]


@METRICS.register_module()
class BagMetric(BaseMetric):
    """AUROC, balanced accuracy, F1 and accuracy by patient, and instance AUC where instances have labels.

    Reads of each data sample ``pred_score`` (C,), ``gt_label`` (-1: not judged), ``slide_id``, ``case_id``, and, where
    they are there, ``attention`` (K,) and ``instance_labels`` (K,).

    Keys: ``bags/auroc`` (of class 1; with more classes the mean of each against the rest), ``balanced_accuracy``,
    ``f1`` (macro), ``f1_<class>``, ``accuracy``; with instance labels ``instance_auc`` (mean over bags with both kinds)
    and ``instance_auc_pooled``. A number that the set cannot give is nan, and a logged line names the classes that lack
    patients. After `evaluate`, ``predictions`` holds the bags, ``judged`` the patients and ``intervals`` the 95 %
    intervals by patient, on the main process.

    Args:
        aggregation: 'mean' of the probabilities of a patient's bags, 'max', or 'none': bag by bag, see `by_patient`.
        num_draws: draws of patients for the intervals; 0, as while training, gives none.
        ordinal: the classes are grades: also ``kappa``, with quadratic weights.
        out_file: csv of all bags (slide_id, case_id, label, predicted, probabilities); None writes nothing.
        collect_device: 'cpu' or 'gpu', as in mmengine.
        collect_dir: as in mmengine.

    Raises:
        ConfigError: unknown aggregation, or samples of another model.
        DatasetError: bags of one patient have different labels, and are to be one.
        MedkitError: a prediction is NaN or infinite.
    """

    default_prefix = "bags"

    def __init__(
        self,
        aggregation: str = "mean",
        num_draws: int = 0,
        ordinal: bool = False,
        out_file: str | None = None,
        collect_device: str = "cpu",
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        if aggregation not in AGGREGATIONS or num_draws < 0:
            raise ConfigError(
                f"BagMetric: aggregation={aggregation!r}, num_draws={num_draws}; expected one of "
                f"{', '.join(AGGREGATIONS)}, and 0 or more draws"
            )
        self.aggregation, self.num_draws, self.out_file = aggregation, num_draws, out_file
        self.ordinal = ordinal
        self.predictions: list[BagPrediction] = []
        self.judged: BagScores | None = None
        self.intervals: dict[str, tuple[float, float]] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of each bag what is judged."""
        self.results.extend(bag_prediction(sample) for sample in data_samples)

    def compute_metrics(self, results: list[BagPrediction]) -> dict[str, float]:
        """All metrics of the set; runs on the main process only."""
        self.predictions = list(results)
        try:
            self.judged = by_patient(gathered(results), self.aggregation)
        except ValueError as error:
            raise DatasetError(f"BagMetric: {error}") from error
        classes = self._class_names(self.judged.scores.shape[1])
        if self.out_file is not None:
            write_bag_predictions(self.out_file, results, classes)
        self._say_undefined(self.judged, classes)
        named = {f"f1_{number}": f"f1_{name}" for number, name in enumerate(classes)}
        values = bag_metrics(self.judged.labels, self.judged.scores, ordinal=self.ordinal)
        self.intervals = {}
        if self.num_draws:
            drawn = bag_bootstrap(self.judged, self.num_draws, ordinal=self.ordinal)
            self.intervals = {named.get(name, name): drawn.interval(name) for name in drawn.draws}
        return {named.get(name, name): float(value) for name, value in values.items()} | _instances(results)

    def _class_names(self, count: int) -> tuple[str, ...]:
        """Those of the data set, or numbers."""
        classes = (self.dataset_meta or {}).get("classes") or range(count)
        if len(classes) != count:
            raise ConfigError(
                f"the data set has the {len(classes)} classes {tuple(classes)}, the model tells {count} apart; set "
                "num_classes of the head to that of the data set"
            )
        return tuple(map(str, classes))

    def _say_undefined(self, judged: BagScores, classes: Sequence[str]) -> None:
        lacking = [name for name, area in zip(classes, class_auroc(judged.labels, judged.scores), strict=True)
                   if np.isnan(area)]  # fmt: skip
        if lacking:
            print_log(
                f"AUROC is not defined for {', '.join(lacking)}: none, or all, of the {len(judged.ids)} judged are of "
                "it; a mean over classes leaves it out",
                logger="current",
            )


def _instances(results: Sequence[BagPrediction]) -> dict[str, float]:
    """Instance AUC where attention and the instances' labels are known."""
    told = [one for one in results if one.tells_instances]
    if not told:
        return {}
    found = instance_auc([one.attention for one in told], [one.instance_labels for one in told])  # type: ignore[misc]
    return {"instance_auc": found.mean, "instance_auc_pooled": found.pooled}
