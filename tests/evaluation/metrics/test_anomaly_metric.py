"""AnomalyMetric in mmengine's evaluator: roles, cut-offs, masks, AUCp, faults."""

import cv2
import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from medkit.errors import ConfigError, MedkitError
from medkit.evaluation.functional.anomaly import equal_rates_cutoff
from medkit.evaluation.functional.grading import auroc
from medkit.evaluation.metrics import AnomalyMetric


def sample(score: float, label: int | None, role: str = "test", **fields) -> BaseDataElement:
    made = BaseDataElement(metainfo=dict(role=role, patient_id=fields.pop("patient", None), img_path="a.png"))
    made.pred_score = score
    if label is not None:
        made.gt_label = label
    made.set_data(fields)
    return made


def samples(role: str, num: int, seed: int, shift: float = 1.5) -> list[BaseDataElement]:
    rng = np.random.default_rng(seed)
    return [sample(rng.normal(shift * (i % 2)), i % 2, role, patient=f"{role}{i // 2}") for i in range(num)]


def evaluate(given: list[BaseDataElement], **options) -> tuple[dict[str, float], AnomalyMetric]:
    evaluator = Evaluator([AnomalyMetric(**options)])
    for at in range(0, len(given), 5):
        evaluator.process(given[at : at + 5])
    return evaluator.evaluate(len(given)), evaluator.metrics[0]


def test_cutoff_comes_from_validation_and_test_is_judged() -> None:
    val, test = samples("val", 30, 0), samples("test", 40, 1)
    values, metric = evaluate(val + test, num_draws=50)
    labels, scores = np.array([one.gt_label for one in test]), np.array([one.pred_score for one in test])
    cutoff = equal_rates_cutoff([one.gt_label for one in val], [one.pred_score for one in val])
    assert values["anomaly/cutoff"] == cutoff
    assert values["anomaly/cutoff_in_sample"] == 0
    assert values["anomaly/auroc"] == auroc(labels, scores)
    assert values["anomaly/recall"] == (scores[labels == 1] >= cutoff).mean()
    low, high = metric.intervals["auroc"]
    assert low < values["anomaly/auroc"] < high


def test_in_sample_cutoff_is_said() -> None:
    assert evaluate(samples("val", 20, 0))[0]["anomaly/cutoff_in_sample"] == 1
    assert evaluate(samples("test", 20, 0), rule="test")[0]["anomaly/cutoff_in_sample"] == 1
    assert evaluate(samples("test", 20, 0), cutoff=0.5)[0]["anomaly/cutoff_in_sample"] == 0


def test_aucp_needs_no_label_and_no_anomaly_silences_it() -> None:
    given = [sample(score, None, "healthy") for score in (0, 1, 2)]
    given += [sample(score, None, "mixed") for score in (1, 2, 3)]
    assert evaluate(given)[0] == {"anomaly/aucp": pytest.approx(7 / 9)}  # 6 pairs won, 2 equal
    assert np.isnan(evaluate(given, contamination=0.0)[0]["anomaly/aucp"])


def test_masks_as_arrays_and_files(tmp_path) -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[4:9, 5:11] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), cv2.resize(mask, (64, 64), interpolation=cv2.INTER_NEAREST))
    hot = (mask > 0).astype(np.float32)
    given = []
    for role in ("val", "test"):
        given += [sample(1.0, 1, role, anomaly_map=hot, gt_mask=mask), sample(0.0, 0, role)]
    given += [sample(1.0, 1, "test", anomaly_map=hot * 0.5, gt_mask=str(tmp_path / "mask.png"))]
    values, _ = evaluate(given)
    assert values["anomaly/pixel_auroc"] == 1
    assert values["anomaly/aupro"] == pytest.approx(1)
    assert values["anomaly/dice"] == pytest.approx(2 / 3)  # at validation's cut-off, 1, the second is not found
    assert "anomaly/dice" not in evaluate(given[2:], cutoff=0.5)[0], "no validation, no cut-off for pixels"
    assert "anomaly/pixel_auroc" not in evaluate(samples("val", 8, 0))[0]


@pytest.mark.parametrize(
    "given, options, error, said",
    [
        ([sample(0.1, 0), sample(0.2, 1)], {}, ConfigError, "needs images of role val"),
        ([sample(0.1, 0), sample(0.2, 0)], {"rule": "test"}, ConfigError, "have the label 0"),
        ([sample(float("nan"), 0)], {}, MedkitError, "score of a.png is nan"),
        ([sample(0.1, -1)], {}, ConfigError, "none of them labelled"),
        ([BaseDataElement()], {}, ConfigError, "no pred_score"),
        ([], {"rule": "best"}, ConfigError, "rule='best'"),
    ],
)
def test_faults_are_named(given, options, error, said) -> None:
    with pytest.raises(error, match=said):
        evaluate(given, **options)
