"""The benchmark of studies of images runs, with a row of memory and one of time for each variant."""

from argparse import Namespace
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    from benchmarks import image_bags

    small = dict(STUDIES=2, IMAGES=2, SIDE=32, BACKBONE=image_bags.BACKBONE | dict(base_channels=8, stem_channels=8))
    small |= dict(HEAD=image_bags.HEAD | dict(in_channels=64))
    for name, value in small.items():
        monkeypatch.setattr(image_bags, name, value)
    monkeypatch.setattr(image_bags, "VARIANTS", dict(list(image_bags.VARIANTS.items())[2:3]))
    rows = list(image_bags.rows(Namespace(device="cpu", repeats=1)))
    assert [row.name.rsplit(", ")[-1] for row in rows] == ["memory", "time"]
    assert rows[1].base > 0 and rows[1].ours > 0
