"""MaxInstanceMIL against the official code's numbers."""

from pathlib import Path

import pytest
import torch

from medkit.models.mil import MaxInstanceMIL
from tests.models.mil.golden import Golden


@pytest.mark.parametrize("case, classifier, classes", [("bin", "classifier.", 2), ("mc", "classifiers.", 4)])
def test_equals_official_code(golden_dir: Path, case: str, classifier: str, classes: int) -> None:
    golden = Golden(golden_dir, "clam_maxpool_mil")
    head = MaxInstanceMIL(24, classes, embed_channels=16).double().eval()
    golden.load(head, {"fc.0.": "embed.0.", classifier: "classifier."}, prefix=f"{case}/w.")
    output = head(golden["h"][None])
    golden.close(output.logits, f"{case}/top_logits")
    golden.close(output.embedding, f"{case}/feature")
    golden.close(output.logits.softmax(1), f"{case}/Y_prob")
    golden.close(output.extra["instance_logits"][0].softmax(1), f"{case}/instance_probs")


def test_only_the_surest_instance_learns() -> None:
    feats = torch.randn(2, 6, 8, requires_grad=True)
    output = MaxInstanceMIL(8, 2, dropout=0.0)(feats)
    output.logits.sum().backward()
    assert torch.equal(feats.grad.any(2), output.attention.bool())
    assert output.attention.sum(1).tolist() == [1, 1]
