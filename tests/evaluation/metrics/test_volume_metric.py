"""VolumeMetric: errors in per cent, and whether the nearest scan of another subject has the same label."""

import numpy as np
import pytest
import torch

from medkit.errors import ConfigError
from medkit.evaluation.metrics import VolumeMetric

SUBJECTS = ("a", "a", "b", "c", "d")
LABELS = (0, 0, 0, 1, 1)
CODES = torch.tensor([[0.0, 0], [0, 0.1], [0, 1], [4, 4], [0, -0.5]])  # the last one lies among the others


def judged(labels=LABELS, codes=CODES) -> dict[str, float]:
    volumes = torch.zeros(len(labels), 1, 4, 4, 4)
    volumes[..., :2] = 0.5  # brain in one half; the rest is empty
    made = volumes[:, 0].clone()
    made[..., :2] += 0.1
    metric = VolumeMetric()
    for part in (slice(0, 2), slice(2, None)):  # two batches
        rows = range(len(labels))[part]
        samples = [
            dict(code=codes[i], reconstruction=made[i], gt_label=torch.tensor([labels[i]]), subject=SUBJECTS[i])
            for i in rows
        ]
        metric.process(dict(inputs=volumes[part]), samples)
    return metric.evaluate(len(labels))


def test_errors_and_nearest() -> None:
    found = judged()
    assert found["volumes/rmse_brain"] == pytest.approx(10, rel=1e-4)
    assert found["volumes/rmse"] == pytest.approx(10 / np.sqrt(2), rel=1e-4)
    assert found["volumes/nearest"] == pytest.approx(1 / 5)  # b alone; own subjects do not count


def test_without_labels_there_is_no_nearest() -> None:
    assert set(judged(labels=(-1,) * 5)) == {"volumes/rmse", "volumes/rmse_brain"}


def test_other_models_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no code, only \['pred_score'\]"):
        VolumeMetric().process(dict(inputs=torch.zeros(1, 1, 2, 2, 2)), [dict(pred_score=0)])
