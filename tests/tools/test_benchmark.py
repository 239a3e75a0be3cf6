"""The benchmark runs and prints a ratio for each row."""

import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize(("subject", "lines"), [("targets", 3), ("pipeline", 12), ("evaluation", 5)])
def test_benchmark_prints_ratios(subject, lines, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setattr(sys, "argv", ["benchmark.py", subject, "--repeats", "1", "--images", "20"])
    runpy.run_path(str(TOOLS / "benchmark.py"), run_name="__main__")
    assert sum(line.endswith("x") for line in capsys.readouterr().out.splitlines()) == lines
