"""The benchmark of sparse convolution runs, and the ratio asked for is reached: five at 1 % of 512 x 512 cells."""

from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    from benchmarks import sparse_conv

    return sparse_conv


def test_small_maps(subject: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "SIDE", 40)
    assert len(list(subject.rows(Namespace(device="cpu", repeats=1)))) == 7


def test_at_least_five_times_faster_than_dense(subject: ModuleType) -> None:
    rows = subject.rows(Namespace(device="cpu", repeats=2))
    for row in (next(rows), next(rows)):  # scattered cells: forward, then forward and backward
        assert row.base / row.ours > 5, row
