"""The benchmark's table: means, deviations, gains over the untrained network, joining, and what may not be joined."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medkit.apis.selfsup_protocol import Record
from medkit.apis.selfsup_report import read_benchmark, write_benchmark
from medkit.apis.selfsup_table import Benchmark, cells
from medkit.data.graded import GradedSet
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional.grading import grading_metrics

LABELS = np.arange(40) % 4


def graded_set() -> GradedSet:
    files = tuple(f"set/images/{i}.jpg" for i in range(40))
    patients = np.array([f"p{i // 2}" for i in range(40)])
    return GradedSet(files, LABELS, patients, np.array(["test"] * 40), tuple("0123"), True, "set")


def record(method: str, run: str, seed: int | None, errors: int, protocol: str = "linear", **changes) -> Record:
    """A record with the first ``errors`` images graded one off."""
    values = LABELS.astype(float)
    values[:errors] = np.where(LABELS[:errors] > 0, LABELS[:errors] - 1, 1)
    grades = values.astype(int)
    metrics = {name: float(x) for name, x in grading_metrics(LABELS, grades, values, 4).items()}
    head = "vote" if protocol == "knn" else "regression"
    made = Record(method, run, protocol, head, "best", seed, 7, 0.5, metrics, grades, values, {"img_size": 64})
    return replace(made, **changes)


def benchmark(*records: Record, **references: str) -> Benchmark:
    return Benchmark.of(graded_set(), records, references)


def test_deviation_is_over_pretrainings_where_there_are_several() -> None:
    several = [record("ssit", f"run{r}", s, 2 + 6 * r + s) for r in range(2) for s in range(3)]
    one = [record("simsiam", "run", s, 3 + s) for s in range(3)]
    found = {cell.method: cell for cell in cells(benchmark(*several, *one))}
    of_run = [np.mean([r.metrics["accuracy"] for r in several if r.run == f"run{i}"]) for i in range(2)]
    assert found["ssit"].deviation_over == "pre-trainings" and found["simsiam"].deviation_over == "seeds"
    assert found["ssit"].mean["accuracy"] == pytest.approx(np.mean(of_run))
    assert found["ssit"].deviation["accuracy"] == pytest.approx(np.std(of_run, ddof=1))
    assert found["simsiam"].deviation["accuracy"] == pytest.approx(1 / 40)
    assert (found["ssit"].num_runs, found["ssit"].num_seeds) == (2, 3)
    low, high = found["simsiam"].interval["kappa"]
    assert low < found["simsiam"].mean["kappa"] < high


def test_gain_over_the_untrained_network_on_the_same_draws() -> None:
    records = [record("ssit", "run", 0, 4), record("random ViT", "0", 0, 20), record("other", "run", 0, 4)]
    found = {cell.method: cell for cell in cells(benchmark(*records, ssit="random ViT"))}
    gain, low, high = found["ssit"].gain
    assert gain == pytest.approx(records[0].metrics["kappa"] - records[1].metrics["kappa"]) and 0 < low < gain < high
    assert found["other"].gain is None and found["random ViT"].gain is None
    same = {cell.method: cell for cell in cells(benchmark(*records, other="ssit"))}
    assert same["other"].gain == (0, 0, 0), "equal grades on equal draws"


def test_files_and_the_way_back(tmp_path: Path) -> None:
    records = [record("ssit", "run", s, 4 + s) for s in range(2)] + [record("ssit", "run", None, 9, "knn")]
    records += [replace(r, selected="final") for r in records[:2]]
    whole = benchmark(*records)
    text = write_benchmark(whole, tmp_path)
    shown = 100 * np.mean([r.metrics["kappa"] for r in records[:2]])
    line = next(line for line in text.splitlines() if line.startswith("| ssit"))
    assert f"{shown:.2f} ± " in line and f"{100 * records[2].metrics['kappa']:.2f}" in line
    assert (tmp_path / "table.md").read_text() == text
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    kappa = [r for r in rows if (r["protocol"], r["metric"], r["selected"]) == ("linear", "kappa", "best")]
    assert len(rows) == 3 * 4 and float(kappa[0]["mean"]) == pytest.approx(shown / 100)
    json.loads((tmp_path / "results.json").read_text())
    back = read_benchmark(tmp_path)
    assert write_benchmark(back, tmp_path / "again") == text


def test_joining(tmp_path: Path) -> None:
    random = record("random", "0", 0, 20)
    one, two = benchmark(record("ssit", "a", 0, 4), random), benchmark(record("simsiam", "b", 0, 5), random)
    write_benchmark(one, tmp_path)
    joined = read_benchmark(tmp_path).joined(two)
    assert [r.method for r in joined.records] == ["ssit", "random", "simsiam"], "equal outcomes count once"
    with pytest.raises(ConfigError, match="is there twice, with different outcomes"):
        joined.joined(benchmark(record("ssit", "a", 0, 6)))
    with pytest.raises(ConfigError, match="img_size is 96 for dino and 64 for ssit"):
        joined.joined(benchmark(record("dino", "c", 0, 6, settings={"img_size": 96})))
    with pytest.raises(ConfigError, match="other test images"):
        joined.joined(replace(one, images=tuple("abcd") * 10))


def test_no_results_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"results\.json holds no results"):
        read_benchmark(tmp_path)
    (tmp_path / "results.json").write_text('{"dataset": "x"}')
    with pytest.raises(DatasetError, match="give the --out of"):
        read_benchmark(tmp_path)
