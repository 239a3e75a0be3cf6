"""The benchmark runs and prints a ratio for each row."""

import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize(
    ("subject", "lines"),
    [("targets", 3), ("pipeline", 12), ("evaluation", 5), ("neighbours", 3), ("volumes", 6)],
)
def test_benchmark_prints_ratios(subject, lines, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(TOOLS))
    small = ["--repeats", "1", "--images", "20", "--rows", "3000", "--queries", "40", "--side", "32"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", subject, *small])
    runpy.run_path(str(TOOLS / "benchmark.py"), run_name="__main__")
    assert sum(line.endswith("x") for line in capsys.readouterr().out.splitlines()) == lines
