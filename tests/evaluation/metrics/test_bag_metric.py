"""BagMetric: values by patient, the csv, absent classes named, intervals, instances, and what is refused."""

import csv
from pathlib import Path

import pytest
import torch

from medkit.errors import ConfigError, DatasetError, MedkitError
from medkit.evaluation.metrics import BagMetric

POSITIVE = (0.9, 0.2, 0.3, 0.6, 0.1)
CASES = "aabcd"
LABELS = (1, 1, 0, 1, 0)


def sample(row: int, labels=LABELS, **more) -> dict:
    score = torch.tensor([1 - POSITIVE[row], POSITIVE[row]])
    return dict(pred_score=score, gt_label=torch.tensor([labels[row]]), slide_id=f"s{row}", case_id=CASES[row], **more)


def judged(samples: list[dict], **settings) -> tuple[dict[str, float], BagMetric]:
    metric = BagMetric(**settings)
    metric.dataset_meta = {"classes": ("healthy", "tumour")}
    metric.process(None, samples[:2])
    metric.process(None, samples[2:])
    return metric.evaluate(len(samples)), metric


def test_values_are_those_of_patients(tmp_path: Path) -> None:
    samples = [sample(row) for row in range(5)]
    found, metric = judged(samples, num_draws=50, out_file=str(tmp_path / "new" / "bags.csv"))
    assert set(found) == {f"bags/{n}" for n in ("auroc", "balanced_accuracy", "f1", "accuracy", "f1_healthy",
                                                "f1_tumour")}  # fmt: skip
    assert found["bags/auroc"] == 1 and found["bags/accuracy"] == 1  # a is 0.55, b 0.3, c 0.6, d 0.1
    assert metric.judged.scores[0, 1] == pytest.approx(0.55) and len(metric.judged.ids) == 4
    assert metric.intervals["f1_tumour"] == (1, 1)
    assert judged(samples, aggregation="none")[0]["bags/accuracy"] == pytest.approx(4 / 5)
    assert judged(samples, aggregation="none")[0]["bags/auroc"] == pytest.approx(5 / 6)
    rows = list(csv.DictReader((tmp_path / "new" / "bags.csv").open()))
    assert [row["slide_id"] for row in rows] == [f"s{row}" for row in range(5)]
    assert rows[1] == {"slide_id": "s1", "case_id": "a", "label": "tumour", "predicted": "healthy",
                       "probability_healthy": "0.8", "probability_tumour": "0.2"}  # fmt: skip


def test_what_cannot_be_said_is_nan_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("medkit.evaluation.metrics.bag_metric.print_log", lambda text, **_: said.append(text))
    found, _ = judged([sample(row, labels=(1, 1, -1, 1, -1)) for row in range(5)])
    assert found["bags/auroc"] != found["bags/auroc"] and found["bags/accuracy"] == 1
    assert len(said) == 1 and "not defined for healthy, tumour" in said[0]


def test_instances() -> None:
    attention = [torch.tensor([0.5, 0.3, 0.2]), torch.full((4,), 0.25)]
    labels = [torch.tensor([0, 1, 0]), torch.zeros(4, dtype=torch.int8)]
    more = [dict(attention=attention[row], instance_labels=labels[row]) for row in range(2)]
    found, _ = judged([sample(row, **(more[row] if row < 2 else {})) for row in range(5)])
    assert found["bags/instance_auc"] == 0.5
    assert found["bags/instance_auc_pooled"] == pytest.approx(1 / 6)  # shares of 1.5, .9, .6 and 1


def test_faults_are_named() -> None:
    with pytest.raises(ConfigError, match="'median'"):
        BagMetric("median")
    with pytest.raises(DatasetError, match="patient a have different labels"):
        judged([sample(row, labels=(1, 0, 0, 1, 0)) for row in range(5)])
    with pytest.raises(ConfigError, match="slide_id=None"):
        BagMetric().process(None, [dict(pred_score=torch.tensor([0.5, 0.5]))])
    with pytest.raises(ConfigError, match="label 2"):
        judged([sample(row, labels=(2, 2, 0, 1, 0)) for row in range(5)])
    with pytest.raises(MedkitError, match="s0: NaN"):
        BagMetric().process(None, [sample(0) | dict(pred_score=torch.tensor([float("nan"), 0.5]))])
    with pytest.raises(ConfigError, match="attention"):
        BagMetric().process(None, [sample(0, attention=torch.ones(3), instance_labels=torch.ones(2))])
