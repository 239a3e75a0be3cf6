"""DSMIL against the formula in NumPy, one instance after the other; labels; the state it starts in."""

import numpy as np
import pytest
import torch

from medkit.errors import ConfigError
from medkit.models.mil import DSMIL


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def test_equals_numpy() -> None:
    head, bag = DSMIL(6, 3, query_channels=4).double(), torch.randn(8, 6, dtype=torch.float64)
    for weight in head.parameters():
        torch.nn.init.normal_(weight)
    output, x = head(bag[None]), array(bag)
    scores = x @ array(head.instance.weight).T + array(head.instance.bias)  # (K, C)
    first, second = head.query[0], head.query[2]
    hidden = np.maximum(x @ array(first.weight).T + array(first.bias), 0)
    query = np.tanh(hidden @ array(second.weight).T + array(second.bias))  # (K, Q)
    rows = []
    for c in range(3):
        likeness = np.exp(query @ query[scores[:, c].argmax()] / 2)  # sqrt of 4 channels
        attention = likeness / likeness.sum()
        np.testing.assert_allclose(array(output.attention)[0, c], attention, rtol=1e-10)
        rows.append(attention @ x)
    embedding = np.stack(rows)  # (C, D)
    kernel = array(head.classifier.weight)  # (C out, C in, D)
    logits = np.einsum("ocd,cd->o", kernel, embedding) + array(head.classifier.bias)
    np.testing.assert_allclose(array(output.logits)[0], logits, rtol=1e-10)
    target = np.array([1.0, 0.0, 0.0])

    def bce(z: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-z))
        return -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()

    losses = head.loss(output, torch.tensor([0]))
    assert losses["loss_bag"].item() == pytest.approx(0.5 * bce(logits), rel=1e-6)
    assert losses["loss_max"].item() == pytest.approx(0.5 * bce(scores.max(0)), rel=1e-6)


def test_labels() -> None:
    assert DSMIL(6, 3).targets(torch.tensor([1, -1, 2])).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert DSMIL(6, 1).targets(torch.tensor([1, 0])).tolist() == [[1], [0]]
    several = torch.tensor([[1, 1, 0]])
    assert DSMIL(6, 3).targets(several).tolist() == several.tolist()
    with pytest.raises(ConfigError, match=r"\[3\].*-1 .* to 2"):
        DSMIL(6, 3).targets(torch.tensor([3]))


def test_starts_orthogonal() -> None:
    head = DSMIL(16, 2, query_channels=8)
    weight = head.query[0].weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(8))
    kernel = head.classifier.weight.flatten(1)
    torch.testing.assert_close(kernel @ kernel.T, torch.eye(2))
    assert not any(bias.any() for name, bias in head.named_parameters() if name.endswith("bias"))


def test_values_may_be_transformed() -> None:
    head, bag = DSMIL(6, 2, nonlinear=False, value_dropout=0.0), torch.randn(1, 5, 6)
    output = head(bag)
    expected = output.attention @ head.value(bag)
    torch.testing.assert_close(output.embedding, expected.flatten(1))
