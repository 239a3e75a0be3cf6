"""Heads on one set: rows as asked for, nothing chosen by the test bags, taken up again, faults before training."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from medkit.apis import bag_benchmark
from medkit.apis.bag_benchmark import HeadSettings, run_bag_benchmark, write_bag_benchmark
from medkit.data.bag_table import read_bag_table
from medkit.errors import ConfigError
from tests.bag_set import WIDTH, write_bags

REPO = Path(__file__).resolve().parents[2]
TINY = {"in_channels": WIDTH, "num_workers": 0, "max_epochs": 1}
PLAIN = "abmil:model.head.gated=False"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    root = write_bags(tmp_path_factory.mktemp("slides"), cases=12)
    out, said = tmp_path_factory.mktemp("out"), []
    settings = HeadSettings(str(root), str(out), ("mean_max", PLAIN), (3, 5), str(REPO / "configs"), TINY)
    results = run_bag_benchmark(settings, said.append)
    return settings, results, said, write_bag_benchmark(results, settings)


def test_every_training_judges_all_test_bags_and_no_other(done) -> None:
    settings, results, said, text = done
    table = read_bag_table(settings.data_root)
    test = set(table.ids[table.splits == "test"].tolist())
    assert test and [result.name for result in results] == ["mean_max", PLAIN]
    for result in results:
        assert [record.facts["seed"] for record in result.records] == [3, 5]
        assert all({one.slide_id for one in record.predictions} == test for record in result.records)
        assert all(record.facts["checkpoint"] == "epoch_1.pth" for record in result.records)  # the last, not the best
    assert "instance_auc" in results[1].scores[0] and "instance_auc" not in results[0].scores[0]  # pooling has none
    assert (results[0].records[0].predictions[0].scores != results[0].records[1].predictions[0].scores).any()
    assert f"| {PLAIN} | " in text and "seeds 3, 5" in text and len(said) == 5
    rows = list(csv.DictReader((Path(settings.out) / "scores.csv").open()))
    assert {row["seed"] for row in rows} == {"3", "5"} and {row["head"] for row in rows} == {"mean_max", PLAIN}


def test_options_of_a_row_change_that_row_alone(done) -> None:
    settings, *_ = done
    both = [bag_benchmark._config(settings, head, 0).model.head for head in ("abmil", PLAIN)]
    assert both[0].get("gated", True) and both[1].gated is False


def test_nothing_is_trained_twice(done, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _, _, text = done
    monkeypatch.setattr(bag_benchmark, "train_again", lambda cfg: pytest.fail("trained again"))
    assert write_bag_benchmark(run_bag_benchmark(settings, lambda line: None), settings) == text
    with pytest.raises(ConfigError, match="made of other"):
        run_bag_benchmark(replace(settings, cfg_options={**TINY, "lr": 0.1}), lambda line: None)


@pytest.mark.parametrize(
    ("heads", "match"),
    [(("abmil", "nonsense"), "one of abmil"), (("abmil", "abmil"), "once"), (("abmil:gated",), "expected NAME:?")],
)
def test_faults_are_named_before_training(done, heads, match, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_benchmark, "train_again", lambda cfg: pytest.fail("trained"))
    with pytest.raises(ConfigError, match=match):
        run_bag_benchmark(replace(done[0], heads=heads, out=f"{done[0].out}_other"), lambda line: None)
